"""Stage finetune, `python -m pipeline.finetune`: run fine-tuning; the code is in `pipeline.stages.finetune`."""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main("finetune")

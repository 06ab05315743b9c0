"""Stage finetune: phase 2, fine-tuning. `python -m pipeline.finetune`; the body is `pipeline.stages.finetune`."""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main("finetune")

"""Run fine-tuning with `python -m pipeline.finetune`; see `pipeline.stages.finetune`."""

from pipeline.jobs.launch import main

if __name__ == "__main__":
    main("finetune")

"""Phase 2: rounds of fine-tuning, their depth, and which weights are kept."""

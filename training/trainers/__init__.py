"""Fine-tuning with TRL and PEFT: SFT, DPO, KTO, packing, warm starts."""

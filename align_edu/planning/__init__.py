"""What a training run costs on each kind of device."""

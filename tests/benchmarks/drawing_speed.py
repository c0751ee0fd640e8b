"""Pictures of the toy world that one core draws in a second, in processor time.

python tests/benchmarks/drawing_speed.py [--scenes 300] [--rounds 5]
"""

import argparse
import time

import numpy as np

from align_edu.world.draw import draw
from align_edu.world.scene import sample_scene


def main() -> None:
    """Draw the same scenes in each round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    rng = np.random.default_rng(2)
    scenes = [sample_scene(rng) for _ in range(args.scenes)]
    rates = []
    for _ in range(args.rounds):
        began = time.process_time()
        for scene in scenes:
            draw(scene, rng)
        rates.append(len(scenes) / (time.process_time() - began))
    print(f"pictures a second and core: {min(rates):.0f} to {max(rates):.0f}")


if __name__ == "__main__":
    main()

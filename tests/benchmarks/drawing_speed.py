"""Pictures of the toy world that one core draws in a second, in processor time.

python tests/benchmarks/drawing_speed.py [--scenes 300] [--rounds 5]
"""

import time

import numpy as np

from align_edu.world.draw import draw
from align_edu.world.scene import sample_scene
from tests.benchmarks.measure import options, timed

if __name__ == "__main__":
    args, rng = options(__doc__, scenes=300, rounds=5), np.random.default_rng(2)
    scenes = [sample_scene(rng) for _ in range(args.scenes)]
    taken = [
        timed(lambda: [draw(scene, rng) for scene in scenes], time.process_time)[0]
        for _ in range(args.rounds)
    ]
    rates = [args.scenes / seconds for seconds in taken]
    print(f"pictures a second and core: {min(rates):.0f} to {max(rates):.0f}")

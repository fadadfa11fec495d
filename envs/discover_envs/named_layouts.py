"""The hand-drawn 2-D mazes, as text: what you see is what is drawn.

``#`` is wall and ``.`` free; ``S`` is the start, always the cell in the middle; ``G`` is the target. The
first coordinate grows to the right and the second upwards, so the default target (r, r) lies top right.
"""

OPEN = """
#############
#..........G#
#...........#
#...........#
#...........#
#...........#
#.....S.....#
#...........#
#...........#
#...........#
#...........#
#...........#
#############
"""

# A cup round the start whose opening faces away from the target.
U = """
#############
#..........G#
#...........#
#...........#
#...#####...#
#.......#...#
#.....S.#...#
#.......#...#
#...#####...#
#...........#
#...........#
#...........#
#############
"""

# Four arms; the right one ends short of the target, only the left one leads there.
CROSS = """
#############
#..........G#
#.###########
#.####.####.#
#.####.####.#
#.####.####.#
#.....S.....#
######.######
######.######
######.######
######.######
######.######
#############
"""

SPIRAL = """
###########
#........G#
#.#########
#.###...###
#.###.#.###
#.###S#.###
#.#####.###
#.#.....###
#.#.#######
#...#######
###########
"""

SERPENTINE = """
###########
#........G#
#.#########
#.........#
#########.#
#....S....#
#.#########
#.........#
#########.#
#.........#
###########
"""

# The start lies in a pocket three units from the target; the way there leads all round.
MISLEADING = """
###########
#.........#
#.#######.#
#.#######.#
#.#######.#
#....S.#G.#
#.#########
#.#######.#
#.#######.#
#.........#
###########
"""

# The right-hand corridor ends beside the target; the way there first leads away from it.
DEAD_END = """
#############
#########.#G#
#########.#.#
#########.#.#
#########.#.#
#########.#.#
#.....S...#.#
#.#########.#
#.#########.#
#.#########.#
#.#########.#
#...........#
#############
"""

NAMED_LAYOUTS: dict[str, tuple[str, ...]] = {
    name: tuple(text.split())
    for name, text in {
        "open": OPEN,
        "u": U,
        "cross": CROSS,
        "spiral": SPIRAL,
        "serpentine": SERPENTINE,
        "misleading": MISLEADING,
        "dead_end": DEAD_END,
    }.items()
}
"""Name to rows, the top row first."""

"""Layouts of the MuJoCo mazes, as text: ``#`` wall, ``.`` free, ``S`` start, ``G`` target; the top row first.

The first seven have the names and sizes of the ant mazes of arXiv 2505.19850, and the distances between start and
target in its released code (2, 4, 6, 8, 8, 19 and 19 cells). The first five start in the middle, as there; where the
walls of the last three stand is drawn by us. UMaze, Medium and Large are those of Gymnasium-Robotics, start and target
in far corners. Gymnasium-Robotics has no Giant; this one is ours, as large as the one of OGBench (12 by 16).
"""

PLAIN = """
#######
#.....#
#.....#
#..S.G#
#.....#
#.....#
#######
"""

# four pillars, the target in the far corner
SQUARE_SPARSE = """
#######
#....G#
#.#.#.#
#..S..#
#.#.#.#
#.....#
#######
"""

BIG_SQUARE_SPARSE = """
#########
#......G#
#.##.##.#
#.##.##.#
#...S...#
#.##.##.#
#.##.##.#
#.......#
#########
"""

LARGE_PLAIN = """
###########
#........G#
#.........#
#.........#
#.........#
#....S....#
#.........#
#.........#
#.........#
#.........#
###########
"""

# the target is eight cells away, behind a wall with two doors, of which one leads into a dead end
LONG_HORIZON = """
###########
#......#.G#
#......#..#
#.........#
#......#..#
#....S.####
#......#..#
#.........#
#......#..#
#......#..#
###########
"""

HUGE = """
###############
#.............#
#.#.#.###.#.#.#
#.#...#.....#.#
#...#.#.###...#
#.###...#...#.#
#.....###.#.#G#
#.###.....#.#.#
#.#...#.#...#.#
#...#.#.#.#...#
#.###...#.###.#
#.....#.......#
#.###.#.#.###.#
#S............#
###############
"""

S_SPARSE = """
#########
#.....G.#
#.......#
#..######
#.......#
######..#
#.......#
#S......#
#########
"""

UMAZE = """
#####
#G..#
###.#
#S..#
#####
"""

MEDIUM = """
########
#S.##..#
#..#...#
##...###
#..#...#
#.#..#.#
#...#.G#
########
"""

LARGE = """
############
#S...#.....#
#.##.#.#.#.#
#......#...#
#.####.###.#
#..#.#.....#
##.#.#.#.###
#..#...#..G#
############
"""

GIANT = """
################
#S...#.......#.#
#.##.#.##.##...#
#..#.....#...#.#
##.#.###.#.###.#
#....#.......#.#
#.##.#.##.##.#.#
#..#...#...#...#
##.###.#.#.###.#
#....#...#.....#
#.##...#.###.#G#
################
"""

# tables for the arm: the cube has to be pushed round the end of a wall, and between two walls from one end to the other
ONE_WALL = """
#############
#.....#.....#
#.....#.....#
#.....#.....#
#..S..#..G..#
#.....#.....#
#...........#
#...........#
#...........#
#############
"""

TWO_WALLS = """
#############
#...#.......#
#...#.......#
#...#.......#
#.S.#...#...#
#...#...#.G.#
#.......#...#
#.......#...#
#.......#...#
#############
"""

GRID_LAYOUTS: dict[str, tuple[str, ...]] = {
    name: tuple(text.split())
    for name, text in {
        "plain": PLAIN,
        "square_sparse": SQUARE_SPARSE,
        "big_square_sparse": BIG_SQUARE_SPARSE,
        "large_plain": LARGE_PLAIN,
        "long_horizon": LONG_HORIZON,
        "huge": HUGE,
        "s_sparse": S_SPARSE,
        "umaze": UMAZE,
        "medium": MEDIUM,
        "large": LARGE,
        "giant": GIANT,
        "one_wall": ONE_WALL,
        "two_walls": TWO_WALLS,
    }.items()
}
"""Name to rows, the top row first."""

TABLES = ("one_wall", "two_walls")
"""Layouts drawn for the arm, in cells of a few centimetres."""

CENTRED = ("umaze", "medium", "large", "giant", *TABLES)
"""Layouts whose coordinates have their origin in the middle of the map (for mazes, as Gymnasium-Robotics has it)."""

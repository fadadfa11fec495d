"""MuJoCo mazes: one builder, one environment, two steppers (MuJoCo Warp on CUDA, native threads on the CPU).

A body is one small file, see ``point.py``, ``ant.py`` and ``arm.py``: its bodies and motors, its configuration, and a
class. For the arm the maze is a table: what goes through it is the cube.
"""

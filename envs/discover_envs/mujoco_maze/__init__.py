"""MuJoCo mazes: one builder, one environment, two steppers (MuJoCo Warp on CUDA, native threads on the CPU).

A body is one small file, see ``point.py`` and ``ant.py``: its bodies and motors, its configuration, and a class.
"""

"""``discover-rl check-env``: what is wrong with an environment or a goal space."""

from functools import partial
from typing import TYPE_CHECKING

from discover_rl.cli.composing import (
    PLUGIN_GROUPS,
    check_overrides,
    composed,
    recipes_dir,
    register_dotted_paths,
    register_schemas,
)
from discover_rl.cli.parsing import fail

if TYPE_CHECKING:
    from discover_rl.config import TrainConfig

USAGE = "discover-rl check-env MODULE:ENV [goal_space=MODULE:GOALS] [target=[...]] [env.KEY=VALUE ...]"
HELP = f"""usage: {USAGE}

What is wrong with an environment or a goal space, each problem in a sentence; nothing is trained.

  MODULE:ENV     a class or function of yours; or a name, as point_maze/u, or a Gymnasium id
  goal_space     a goal space of yours, or a name
  target         the target in that goal space
  env.KEY=VALUE  settings of the environment, as for train

example: discover-rl check-env my_package.my_module:MyEnv goal_space=my_package.my_module:MyGoals
"""


def run(arguments: list[str]) -> None:
    """Look at the environment from all sides; print what was seen, and every problem in a sentence."""
    if {"-h", "--help"} & set(arguments):
        print(HELP, end="")
        return
    if not arguments or arguments[0].startswith("-") or "=" in arguments[0]:
        fail(f"give an environment: {USAGE}; MODULE:ENV may be a name, as point_maze/u, or a Gymnasium id")
    register_schemas()
    overrides = [*_choice(arguments[0]), *arguments[1:]]
    register_dotted_paths(overrides)
    check_overrides(overrides)
    config = composed(overrides)
    problems, discrete = _problems(config)
    for problem in problems:
        print(f"  wrong: {problem}")
    if problems:
        fail(f"{arguments[0]} has {len(problems)} problem{'s' if len(problems) > 1 else ''}", code=1)
    overrides += ["agent=dqn"] if discrete else []
    print(f"{arguments[0]} keeps the contract; train it with: discover-rl train {' '.join(overrides)}")


def _choice(name: str) -> list[str]:
    from discover_rl.config import is_dotted_path, load_object, plugin_names

    recipe = recipes_dir() / "env" / f"{name}.yaml"
    if recipe.is_file() or name in plugin_names(PLUGIN_GROUPS["env"]):
        return [f"env={name}"]
    if is_dotted_path(name) and name.rpartition(":")[2].isidentifier():  # no id of Gymnasium's, which has a version
        load_object(name)
        return [f"env={name}"]
    return ["env=gymnasium", f"env.id={name}"]


def _problems(config: "TrainConfig") -> tuple[list[str], bool]:
    """What is wrong, and whether actions are discrete."""
    import torch

    from discover_rl.build import make_environment
    from discover_rl.config import load_plugin
    from discover_rl.goals.check_environment import environment_problems

    device = torch.device("cpu")
    factory = load_plugin("discover_rl.environments", config.env.name)

    def own(num_envs: int, seed: int) -> object:
        return factory(config.env, num_envs, device, seed)

    made = partial(make_environment, config.env, device=device, goal_space=config.goal_space, target=config.target)
    try:
        env = made(64, seed=0)
    except ValueError as error:  # the goal space, or a start; look at the rest as it is
        has_goals = getattr(own(1, 0), "goal_space", None) is not None
        return [*(environment_problems(own) if has_goals else ()), str(error)], False
    except Exception as error:  # it breaks before anything can be said of its goals
        problems = list(environment_problems(own))
        return problems or [f"{type(error).__name__}: {' '.join(str(error).split())}"], False
    problems = list(environment_problems(lambda num_envs, seed: made(num_envs, seed=seed)))
    if not problems:
        _describe(env)
    return problems, getattr(env, "discrete_actions", False)


def _describe(env: object) -> None:
    from discover_rl.goals import Environment, describe_goal, goal_distance

    assert isinstance(env, Environment)
    observation, space = env.reset(), env.goal_space
    achieved, targets = space.achieved(observation), env.targets()
    actions = "discrete actions" if getattr(env, "discrete_actions", False) else "action coordinates"
    print(f"  observation   {env.observation_dim} numbers")
    print(f"  actions       {env.action_dim} {actions}")
    print(f"  goal space    {type(space).__name__}, {space.dim} coordinates")
    print(f"  a start       {describe_goal(space, achieved[0])}")
    print(f"  its target    {describe_goal(space, targets[0])}")
    print(f"  between them  {float(goal_distance(space, achieved, targets).mean()):.3g} on average")
    print(f"  time limit    {env.max_episode_steps} steps" + (", may end early" if env.ends_early else ""))

"""From run folders to the report: what each file says, put together on one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from omegaconf import OmegaConf

from discover_rl.build import make_environment
from discover_rl.checkpoint import CheckpointError
from discover_rl.collect import collect
from discover_rl.config import TrainConfig
from discover_rl.goals import Environment
from discover_rl.report.aggregate import compare_methods, method_name
from discover_rl.report.atomic import write_atomically
from discover_rl.report.charts import Band, learning_curves, methods_chart, over_time
from discover_rl.report.curriculum import CurriculumHistory, Metrics
from discover_rl.report.curves import colours_of, mean_series
from discover_rl.report.metrics import curve, read_metrics, select_seed
from discover_rl.report.page import Section, chart, folded, page, paragraph, tables
from discover_rl.report.player import Track, player
from discover_rl.report.rows import Curve, Group, grouped
from discover_rl.report.scene import Scene, scene_of, scene_without, widened
from discover_rl.report.summary import success_area, summarise
from discover_rl.report.value_maps import ValueMaps
from discover_rl.run_folder import CONFIG, METRICS, load_config
from discover_rl.snapshots import Snapshots, load_snapshots

OVER_TIME = (
    ("α, the weight of achievability", "goal/alpha"),
    ("β, the weight of novelty", "goal/beta"),
    ("chosen goals achieved, share", "goal/selected_success_rate"),
)
WEIGHTS = ("goal/alpha", "goal/beta")  # every run has these columns, not every selector uses them
ROUNDS_SHOWN = 60  # along a curve of distances


@dataclass
class Folder:
    """What a run folder holds, read when asked for.

    Attributes:
        path: Where.
        damaged: What could not be read and is left out, in a sentence; empty if nothing.
    """

    path: Path
    damaged: str = ""

    @cached_property
    def metrics(self) -> Metrics:
        """Columns of ``metrics.csv``."""
        return read_metrics(self.path / METRICS)

    @cached_property
    def snapshots(self) -> Snapshots:
        """Goals and maps; empty where the run stored none, or they are damaged."""
        try:
            return load_snapshots(self.path) or Snapshots(maps=ValueMaps())
        except CheckpointError as error:
            self.damaged = f"{error.args[0].split(';')[0]}; its curriculum is left out"
            return Snapshots(maps=ValueMaps())

    @cached_property
    def has_alpha(self) -> bool:
        """Whether its selector has a weight alpha."""
        config = OmegaConf.load(self.path / CONFIG)
        return any(str(key).startswith("alpha") for key in OmegaConf.select(config, "selector") or {})

    def goals(self, run: int) -> CurriculumHistory | None:
        """The goals chosen in one of its runs."""
        return self.snapshots.goals.of_run(run) if self.snapshots.goals.steps else None


@dataclass
class Report:
    """What a report is made of.

    Attributes:
        curves: One per seed.
        warnings: What a person should know of runs that were left out.
        seed: The seed whose curriculum is shown; None for the median one of each method.
    """

    curves: Sequence[Curve]
    warnings: list[str]
    seed: int | None = None
    _folders: dict[str, Folder] = field(default_factory=dict)

    @cached_property
    def groups(self) -> Mapping[Group, list[Curve]]:
        """Curves by line of the table."""
        return grouped(self.curves)

    @cached_property
    def colours(self) -> dict[str, str]:
        """Of each selector, as six hexadecimal digits."""
        from matplotlib.colors import to_hex

        return {name: to_hex(colour) for name, colour in colours_of(self.groups).items()}

    def folder(self, found: Curve) -> Folder | None:
        """The run folder of a curve; None if it comes from a table of rows."""
        if not Path(found.source).is_dir():
            return None
        return self._folders.setdefault(found.source, Folder(Path(found.source)))

    def name(self, group: Group) -> str:
        """What the method of a line is called."""
        return method_name(group, self.groups[group], self.groups)

    def environments(self) -> dict[str, list[Group]]:
        """The lines of each environment."""
        found: dict[str, list[Group]] = {}
        for group in self.groups:
            found.setdefault(group.environment, []).append(group)
        return found

    def run_of(self, found: Curve) -> int:
        """Its place on the run axis."""
        folder = self.folder(found)
        assert folder is not None
        return np.unique(folder.metrics["seed"]).tolist().index(found.seed)

    def shown(self, group: Group) -> Curve:
        """The seed of a method that is shown: the one asked for, or the median one by area under its curve."""
        members = [found for found in self.groups[group] if self.folder(found)] or self.groups[group]
        if self.seed is not None and any(found.seed == self.seed for found in members):
            return next(found for found in members if found.seed == self.seed)
        order = sorted(members, key=lambda found: (success_area(found.steps, found.success), -found.seed))
        return order[len(order) // 2]


def _environment(config: TrainConfig) -> Environment:
    return make_environment(config.env, 1, torch.device("cpu"), 0, config.goal_space, config.target)


def write_report(paths: Sequence[Path], output: Path, seed: int | None = None, title: str = "") -> list[str]:
    """Write one self-contained HTML file about some runs.

    Args:
        paths: Run folders, folders with run folders at any depth, and CSV files of rows.
        output: The file.
        seed: The seed whose curriculum is shown; the median one of each method if None.
        title: Of the page.

    Returns:
        Warnings about what was left out.

    Raises:
        ValueError: If there is nothing to show, or plotly is not installed.
        OSError: If the file cannot be written; an old one is unchanged.
    """
    try:
        import plotly  # noqa: F401
    except ImportError as error:
        raise ValueError("a report needs plotly; install it with: pip install 'discover-rl[report]'") from error
    curves, warnings = collect(paths)
    seeds = sorted({found.seed for found in curves})
    if seed is not None and seed not in seeds:
        raise ValueError(f"report: there is no seed {seed}; there are {', '.join(map(str, seeds))}")
    report = Report(curves, warnings, seed)
    counts = {
        "seed": len(curves),
        "method": len({report.name(group) for group in report.groups}),
        "environment": len(report.environments()),
        "run": len({found.source for found in curves}),
    }
    subtitle = ", ".join(f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items())
    subtitle += (
        ". Bands and brackets are 95 % bootstrap intervals over seeds. Click a name in a legend to hide it, "
        "double-click to see it alone."
    )
    text = page(title or _title(report), subtitle, _sections(report))
    output.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(output, text.encode())
    return report.warnings + [folder.damaged for folder in report._folders.values() if folder.damaged]


def _title(report: Report) -> str:
    names = list(dict.fromkeys(report.name(group) for group in report.groups))
    places = list(report.environments())
    return f"{', '.join(names)} on {', '.join(places) if len(places) < 4 else f'{len(places)} environments'}"


def _sections(report: Report) -> list[Section]:
    players = [section for name in report.environments() for section in _curriculum(report, name)]
    lines, comparison = summarise(report.curves), compare_methods(report.curves)
    curves = Section("Learning curves", [chart(learning_curves(report.groups, report.colours), "curves")])
    table = Section("Table", [tables(lines, comparison)])
    if len({method.name for method in comparison.methods}) > 1:
        colours = {report.name(group): report.colours[group.selector] for group in report.groups}
        table.parts.insert(0, chart(methods_chart(comparison, colours), "methods"))
    return [curves, *players, *_over_time(report), table]


def _curriculum(report: Report, environment: str) -> list[Section]:
    """The player of one environment, one for each pair of goal coordinates; none where nothing was stored."""
    found = [report.shown(group) for group in report.environments()[environment]]
    tracks = [track for track in (_track(report, one) for one in found) if track is not None]
    if not any(len(track.maps.steps) or track.goals is not None for track in tracks):
        return []
    scene = _scene(report, found, tracks)
    if scene is None:
        return []
    section = Section(f"The curriculum on {environment}")
    section.parts.append(
        paragraph(
            "Each dot is a goal that the agent set itself, dark to bright in the order of time: filled if the episode "
            "achieved it, a ring if not; pale blue is where it had been. The maps show what the value ensemble said of "
            "states that it had visited by then. White disc: start; star: target.",
            note=True,
        )
    )
    for number, view in enumerate(scene.views):
        drawn = chart(player(tracks, view), f"player-{environment}-{number}".replace(" ", "-"))
        if len(scene.views) > 1:
            first, second = (i + 1 for i in view.coordinates)
            drawn = folded(f"Goal coordinates {first} and {second}", drawn, opened=number == 0)
        section.parts.append(drawn)
    return [section]


def _track(report: Report, found: Curve) -> Track | None:
    folder = report.folder(found)
    if folder is None:
        return None
    run = report.run_of(found)
    return Track(
        report.name(found.group),
        report.colours[found.group.selector],
        found.seed,
        folder.goals(run),
        folder.snapshots.maps.of_run(run),
        select_seed(folder.metrics, found.seed),
        folder.has_alpha,
    )


def _scene(report: Report, found: Sequence[Curve], tracks: Sequence[Track]) -> Scene | None:
    """The environment as its plug-in draws it; without the plug-in the goals alone."""
    goals = [track.goals.goals for track in tracks if track.goals is not None]
    goals += [track.maps.goals for track in tracks if len(track.maps.steps)]
    points = np.concatenate([each.reshape(-1, each.shape[-1]) for each in goals])
    points = points[~np.isnan(points).any(-1)]
    folder = next(folder for folder in map(report.folder, found) if folder is not None)
    try:
        config = load_config(folder.path, own_files=True)
        return widened(scene_of(_environment(config)), points)
    except (ValueError, OSError) as error:
        report.warnings.append(f"{folder.path}: shown without its environment: {error}")
        return scene_without(points) if len(points) else None


def _over_time(report: Report) -> list[Section]:
    sections = []
    for environment, groups in report.environments().items():
        quantities = []
        for title, tag in OVER_TIME:
            lines = [(group, _series(report, group, tag)) for group in groups]
            shown = [
                (report.name(group), report.colours[group.selector], mean_series(series))
                for group, series in lines
                if series
            ]
            if shown:
                quantities.append((title, shown))
        if frontier := _frontier(report, groups):
            quantities.append(frontier)
        if quantities:
            name = f"over-time-{environment}".replace(" ", "-")
            sections.append(Section(f"The curriculum in numbers, {environment}", [chart(over_time(quantities), name)]))
    return sections


def _series(
    report: Report, group: Group, tag: str
) -> list[tuple[Float[np.ndarray, "point"], Float[np.ndarray, "point"]]]:
    """A metric of every seed of a method; none where a method has no such thing."""
    series, has = [], False
    for found in report.groups[group]:
        folder = report.folder(found)
        if folder is not None:
            has |= folder.has_alpha if tag in WEIGHTS else False
            steps, values = curve(select_seed(folder.metrics, found.seed), tag)
            if len(steps):
                series.append((steps, values))
    return series if has or (tag not in WEIGHTS and any(values.any() for _, values in series)) else []


def _frontier(report: Report, groups: Sequence[Group]) -> tuple[str, list[tuple[str, str, Band]]] | None:
    """How far the chosen goals are from the target, where the environment can be asked."""
    found = [report.shown(group) for group in groups]
    folders = [folder for folder in map(report.folder, found) if folder is not None]
    if not folders:
        return None
    try:
        config = load_config(folders[0].path, own_files=True)
        distance = scene_of(_environment(config)).distance
    except (ValueError, OSError):
        return None  # told of already, where its picture is missing
    assert distance is not None
    lines, unit = [], ""
    for group in groups:
        series = []
        for one in report.groups[group]:
            folder = report.folder(one)
            history = folder.goals(report.run_of(one)) if folder else None
            if history is None:
                continue
            known = ~np.isnan(history.goals).any(-1)
            if not known.any():
                continue
            away = np.full(known.shape, np.nan)
            away[known], unit = distance(history.goals[known])
            rounds = np.flatnonzero(~np.isnan(away).all(1))
            parts = np.array_split(rounds, min(len(rounds), ROUNDS_SHOWN))
            steps = np.array([history.steps[part].mean() for part in parts])
            series.append((steps, np.array([np.nanmedian(away[part]) for part in parts])))
        if series:
            lines.append((report.name(group), report.colours[group.selector], mean_series(series)))
    return (f"chosen goals to target, median ({unit})", lines) if lines else None

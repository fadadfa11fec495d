"""``discover-rl curriculum``."""

from discover_rl.cli.parsing import option_help


def run(arguments: list[str]) -> None:
    """Rank a corpus of practice tasks for some targets and say why."""
    from discover_rl.config import from_overrides
    from discover_rl.text.explain import RankConfig, rank

    if not arguments or arguments[0] in ("-h", "--help", "help"):
        usage = "discover-rl curriculum targets=FILE corpus=FILE [KEY=VALUE ...]"
        about = "Ranks practice tasks for targets and says why; no training."
        print(option_help(usage, about, RankConfig, "discover-rl curriculum targets=targets.jsonl corpus=corpus.jsonl"))
        return
    print("\n".join(rank(from_overrides(RankConfig, arguments, required=("targets", "corpus")))))

"""``discover-rl ttc``."""

from discover_rl.cli.parsing import option_help


def run(arguments: list[str]) -> None:
    """Train a language model on a curriculum for its targets."""
    from discover_rl.config import from_overrides
    from discover_rl.text.ttc_config import TTCConfig

    if not arguments or arguments[0] in ("-h", "--help", "help"):
        usage = "discover-rl ttc model=NAME targets=FILE corpus=FILE [KEY=VALUE ...]"
        about = "Trains a language model on the tasks that bring it to its targets."
        example = "discover-rl ttc model=HuggingFaceTB/SmolLM2-135M-Instruct targets=targets.jsonl corpus=corpus.jsonl"
        print(option_help(usage, about, TTCConfig, example))
        return
    config = from_overrides(TTCConfig, arguments, required=("model", "targets", "corpus"))

    from discover_rl.text.ttc import CHECKPOINT, MODEL, build, choose_folder

    run_dir, resume = choose_folder(config)
    trainer = build(config)
    if trainer.curriculum.dropped:
        print(trainer.curriculum.dropped)
    if not trainer.policy.chats:
        print(f"prompts are written as {trainer.policy.template!r} (template=...)")
    if resume:
        print(f"going on from {run_dir}")
    evaluation = trainer.run(run_dir, resume)
    if evaluation:
        print(f"\nsuccess on the test tasks: {evaluation['eval/success_rate']:.1%} of sampled attempts", end="")
        print(f", {evaluation['eval/success_rate_greedy']:.1%} greedy ({len(trainer.test)} tasks)")
    print(f"  model        {run_dir / MODEL}")
    print(f"  checkpoint   {run_dir / CHECKPOINT}")
    print(f"  metrics      {run_dir / 'metrics.csv'}")
    print(f"  TensorBoard  tensorboard --logdir {run_dir / 'tensorboard'}")

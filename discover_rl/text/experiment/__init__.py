"""The experiment behind the table of curricula: does choosing what to practise bring a language model to its targets?

``python -m discover_rl.text.experiment --help``
"""

"""What OmegaConf says of a wrong value, in a sentence that names the key and what is allowed."""

import re

WANTED = {
    "Integer": "a whole number",
    "Float": "a number",
    "bool": "true or false",
    "string": "text",
}


def value_sentence(error: BaseException, prefix: str = "") -> str:
    """One sentence for an error of OmegaConf.

    Args:
        error: The error; where it knows the full key of the value, the sentence begins with it.
        prefix: What stands before that key, with its dot.
    """
    message = str(error).splitlines()[0]
    key = getattr(error, "full_key", None) or _key_in(str(error))
    if not key:
        return message
    if found := re.match(r"Value '(.*)' (?:of type '\w+' could not be converted to|is not a valid) (\w+)", message):
        return f"{prefix}{key} is {found[1]!r}; it must be {WANTED.get(found[2], found[2])}"
    if found := re.match(r"Cannot convert '\w+' to string: '(.*)'$", message):
        return f"{prefix}{key} is {found[1]}; it must be text"
    if "is not Optional" in message:
        return f"{prefix}{key} is null; it must have a value (leave it out for the default)"
    if "is not a ListConfig, list or tuple" in message:
        return f"{prefix}{key} must be a list, e.g. {prefix}{key}=[64,64]"
    return f"{prefix}{key}: {message}"


def _key_in(message: str) -> str:
    """Hydra passes on the lines of OmegaConf, but not the key."""
    found = re.search(r"^\s*full_key: (\S+)$", message, re.M)
    return found[1] if found else ""

"""What this build of fastconv is, and what it found on this machine."""

from __future__ import annotations

from typing import Any

from fastconv import _core

__all__ = ["show_config"]


def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Show the version, the instruction sets, the threads, the compiler and the caches.

    Parameters
    ----------
    mode : {'stdout', 'dicts'}
        Print the configuration, or return it as nested dicts.

    Returns
    -------
    dict or None
        With ``mode="dicts"``: ``version``, ``isa`` (``chosen``, ``built``, ``available``),
        ``threads`` (``num_threads``, ``openmp``), ``compiler``, ``caches`` (bytes) and ``memory``
        (``recycling_limit``, ``recycled_bytes``: of the pool of freed results).

    Raises
    ------
    ValueError
        For another mode.

    See Also
    --------
    numpy.show_config : the same of NumPy.

    Examples
    --------
    >>> import fastconv
    >>> config = fastconv.show_config(mode="dicts")
    >>> config["isa"]["chosen"] in config["isa"]["available"]
    True
    """
    from fastconv import __version__

    config: dict[str, Any] = {"version": __version__, **_core.config()}
    if mode == "dicts":
        return config
    if mode != "stdout":
        raise ValueError(f"mode: expected 'stdout' or 'dicts', got {mode!r}")
    for section, values in config.items():
        if not isinstance(values, dict):
            print(f"{section}: {values}")
            continue
        print(f"{section}:")
        for key, value in values.items():
            text = ", ".join(value) if isinstance(value, list) else value
            print(f"  {key}: {text}")
    return None

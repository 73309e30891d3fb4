"""What a setting may hold: rules that check a value and say in words what is allowed."""

from __future__ import annotations

from dataclasses import dataclass


class ConfigError(ValueError):
    """A setting has a value that is not allowed.

    Attributes:
        field: name of the setting.
        value: what it was.
        allowed: what it must do, a phrase after "must", e.g. "lie in [0, 1]".
    """

    def __init__(
        self, field: str, value: object, allowed: str, *, message: str | None = None
    ) -> None:
        super().__init__(message or f"{field} must {allowed}, is {shown(value)}")
        self.field = field
        self.value = value
        self.allowed = allowed


def shown(value: object) -> str:
    """The value as it stands in a message, shortened."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@dataclass(frozen=True)
class Real:
    """A finite number between two bounds; an open bound is not allowed itself."""

    low: float
    high: float
    open_low: bool = False
    open_high: bool = False
    optional: bool = False

    def check(self, field: str, value: object) -> float | None:
        """The value as a float (JSON writes 1.0 as 1)."""
        if value is None and self.optional:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(field, value, self.allowed)
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        if not (above and below):  # NaN is neither
            raise ConfigError(field, value, self.allowed)
        return float(value)

    @property
    def allowed(self) -> str:
        """The rule in words."""
        left, right = "(" if self.open_low else "[", ")" if self.open_high else "]"
        text = f"lie in {left}{self.low:g}, {self.high:g}{right}"
        return f"be null or {text}" if self.optional else text


@dataclass(frozen=True)
class Whole:
    """A whole number between two bounds, both allowed."""

    low: int
    high: int
    optional: bool = False

    def check(self, field: str, value: object) -> int | None:
        """The value itself."""
        if value is None and self.optional:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(field, value, self.allowed)
        if not self.low <= value <= self.high:
            raise ConfigError(field, value, self.allowed)
        return value

    @property
    def allowed(self) -> str:
        """The rule in words."""
        text = f"be a whole number in [{self.low}, {self.high}]"
        return f"be null or {text.removeprefix('be ')}" if self.optional else text


@dataclass(frozen=True)
class OneOf:
    """One of a few values, each of its own type."""

    values: tuple[object, ...]

    def check(self, field: str, value: object) -> object:
        """The value itself."""
        # 1 == True in Python, and a list cannot be hashed: compare types as well, one by one.
        if any(type(value) is type(known) and value == known for known in self.values):
            return value
        names = ", ".join("null" if known is None else str(known) for known in self.values)
        raise ConfigError(field, value, f"be one of {names}")


@dataclass(frozen=True)
class Switch:
    """On or off."""

    def check(self, field: str, value: object) -> bool:
        """The value itself."""
        if not isinstance(value, bool):
            raise ConfigError(field, value, "be true or false")
        return value


@dataclass(frozen=True)
class Text:
    """A name or a path."""

    max_characters: int = 4096

    def check(self, field: str, value: object) -> str:
        """The value itself."""
        if (
            not isinstance(value, str)
            or not 0 < len(value) <= self.max_characters
            or not value.isprintable()
        ):
            allowed = f"be a text of 1 to {self.max_characters} printable characters"
            raise ConfigError(field, value, allowed)
        return value


@dataclass(frozen=True)
class Templates:
    """Sentences into which a class name is put."""

    max_templates: int = 100
    max_characters: int = 200

    def check(self, field: str, value: object) -> tuple[str, ...]:
        """The templates as a tuple (JSON has lists)."""
        if not isinstance(value, tuple | list) or not 0 < len(value) <= self.max_templates:
            raise ConfigError(field, value, f"be a list of 1 to {self.max_templates} texts")
        for template in value:
            self._check_template(field, template)
        return tuple(value)

    def _check_template(self, field: str, template: object) -> None:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise ConfigError(field, template, "hold {} exactly once in each text")
        if len(template) > self.max_characters or not template.isprintable():
            allowed = f"be texts of at most {self.max_characters} printable characters each"
            raise ConfigError(field, template, allowed)


Rule = Real | Whole | OneOf | Switch | Text | Templates

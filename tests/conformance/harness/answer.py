"""What came of a row."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """status: of the container's process; None: it was refused, for the reason `message`."""
    status: int | None
    output: str = ""
    errors: str = ""
    message: str = ""

    @property
    def refused(self):
        return self.status is None

    def has(self, parts):
        """Of a refusal's words in any case: libc's begin with a capital, Go's do not."""
        if self.refused:
            return all(part.lower() in self.message.lower() for part in parts)
        return all(part in self.output + self.errors for part in parts)

    def __str__(self):
        if self.refused:
            return f"refused: {self.message}"
        return f"status {self.status}\n{_clipped(self.output)}{_clipped(self.errors)}"


def equal(one, other, parts):
    """The words of a refusal are each runtime's own; what a user needs of them are `parts`."""
    if one.refused or other.refused:
        return one.refused and other.refused and one.has(parts) and other.has(parts)
    return one == other


def refusal(message):
    return Answer(None, message=message)


def _clipped(text, limit=3000):
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters)\n"

"""What the recipes of every kind share: picture sizes, and how values are refused in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import JobError
from core.types import Preprocessing

S = TypeVar("S", bound=BaseModel)


class Pictures(BaseModel):
    """How media become pixels in training. Serving keeps the checkpoint's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    fps: float = Field(gt=0, le=60)
    max_frames: int = Field(ge=1, le=4096)
    frame_min_pixels: int = Field(ge=1)
    frame_max_pixels: int = Field(ge=1)
    image_min_pixels: int = Field(ge=1)
    image_max_pixels: int = Field(ge=1)

    @model_validator(mode="after")
    def _in_order(self) -> Pictures:
        self.preprocessing("check")
        return self

    def preprocessing(self, name: str) -> Preprocessing:
        """The value that the encoder takes."""
        return Preprocessing(name=name, **self.model_dump())


def checked(model: type[S], values: Mapping[str, Any], what: str) -> S:
    """The values as settings of any kind of recipe.

    Raises:
        JobError: a key is unknown or missing, or a value cannot be used; one sentence names each, and what is accepted.
    """
    try:
        return model(**values)
    except ValidationError as error:
        # Unknown keys first: a misspelt one is often the reason why another is missing.
        found = sorted(error.errors(include_url=False), key=lambda each: each["type"] != "extra_forbidden")
        wrong = "; ".join(dict.fromkeys(_sentence(model, each) for each in found))
        raise JobError(f"{what} cannot be used: {wrong}.") from None


def _sentence(model: type[BaseModel], error: Any) -> str:
    where = ".".join(map(str, error["loc"]))
    if error["type"] == "extra_forbidden":
        return f"it has the unknown key {where!r}; accepted are {', '.join(sorted(_fields(model, error['loc'])))}"
    if error["type"] == "missing":
        return f"it lacks {where!r}"
    said = str(error["msg"]).removeprefix("Value error, ")
    return f"{where} = {error['input']!r}: {said}" if where else said


def _fields(model: type[BaseModel], loc: Sequence[Any]) -> Iterable[str]:
    """The keys that are known where a wrong one stands: in the settings, or in a section of them."""
    for name in loc[:-1]:
        kinds = get_args(model.model_fields[name].annotation) or (model.model_fields[name].annotation,)
        model = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return model.model_fields

"""The error family. Every message is one sentence that names the bad value and what is accepted.

GuardroomError
├── InputError               what a person handed in cannot be moderated
│   ├── EmptyRequest         neither text nor media was given
│   ├── TextTooLong          a text beyond the accepted size
│   └── MediaError           a file that is not an accepted image or video
│       └── MediaDamaged     an accepted kind of file that cannot be decoded, or not within the limits
├── CheckpointError          a checkpoint folder or id that cannot be loaded
├── PromotionRefused         a checkpoint that may not go live, be taken back, or be deleted
├── ProtocolError            a protocol file that cannot be used
├── PolicyError              a policy file that cannot be used
├── UnparseableOutput        the model's text holds no readable answer
├── EngineError              the engine failed or could not be reached
├── Cancelled                a person pressed stop
├── NotAllowed               the action belongs to the owner
├── SnapshotError            a snapshot folder that cannot be read, or was changed
├── JobError                 a job that cannot be launched, resumed or deleted, or a run folder that cannot be read
└── StoreError               the annotation store refused or failed
    ├── StaleClaim           a queue item is no longer in the hands of the reviewer who hands it in
    └── LabelRefused         a label that cannot be right as it stands
"""


class GuardroomError(Exception):
    """Root of every error that Guardroom raises on purpose; `str(error)` is fit to show to a person."""


class InputError(GuardroomError):
    """What a person handed in cannot be moderated."""


class EmptyRequest(InputError):
    """Neither text nor media was given."""


class TextTooLong(InputError):
    """A text beyond the accepted size."""


class MediaError(InputError):
    """A file that is not an accepted image or video."""


class MediaDamaged(MediaError):
    """A file of an accepted kind that cannot be decoded, or not within the limits of time and memory."""


class CheckpointError(GuardroomError):
    """A checkpoint folder or hub id that cannot be loaded."""


class PromotionRefused(GuardroomError):
    """A checkpoint that may not go live as things stand, that cannot be taken back, or that may not be deleted."""


class ProtocolError(GuardroomError):
    """A protocol file that cannot be used."""


class PolicyError(GuardroomError):
    """A policy file (hazard categories) that cannot be used."""


class UnparseableOutput(GuardroomError):
    """The model's text holds no readable answer; never taken as unharmful."""


class EngineError(GuardroomError):
    """The engine failed, or its server could not be reached."""


class Cancelled(GuardroomError):
    """A person pressed stop before there was a result."""


class NotAllowed(GuardroomError):
    """The action belongs to the owner, and the owner's token was missing or wrong."""


class SnapshotError(GuardroomError):
    """A snapshot folder that cannot be read, or whose content is not what its manifest says."""


class JobError(GuardroomError):
    """A job that cannot be launched, cancelled, resumed or deleted, or a run folder that cannot be read."""


class StoreError(GuardroomError):
    """The annotation store refused a write or could not be read."""


class StaleClaim(StoreError):
    """A queue item is no longer in the hands of the reviewer who hands it in; nothing was stored."""


class LabelRefused(StoreError):
    """A label that cannot be right as it stands, such as one whose reasoning concludes the opposite."""

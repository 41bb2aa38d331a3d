"""Published verifiers of other projects, read as their authors read them: one entry of data each."""

from prm.public.detect import public_format
from prm.public.entries import PUBLIC_FORMATS
from prm.public.entry import PublicFormat

__all__ = ["PUBLIC_FORMATS", "PublicFormat", "public_format"]

"""What data sets call the sequences, the classes of tumour and their regions, in our words."""

from __future__ import annotations

import re
from collections.abc import Mapping

_CHANNELS: Mapping[str, re.Pattern[str]] = {
    "flair": re.compile(r"(t2)?w?(flair|fla)|t2f|flairt2w?"),
    "t2": re.compile(r"t2(w|wi|weighted)?"),
    "t1": re.compile(
        r"t1(w|wi|weighted)?(n|native|pre(gd|gad|contrast)?|(non|no|without)(enhanced|contrast))?"
    ),
    "t1c": re.compile(
        r"(ce|gd|gad|post|contrast(enhanced)?)t1(w|wi|weighted)?"
        r"|t1(w|wi|weighted)?(c|ce|gd|gad|km|post(gd|gad|contrast)?|(with)?contrast|enhanced"
        r"|(gd|contrast)enhanced)"
    ),
}
_CLASSES: Mapping[str, re.Pattern[str]] = {
    "necrosis": re.compile(
        r"(ncr|necrosis|necrotic)(tissue)?(tumor)?(core)?"
        r"|((ncr|necrosis|necrotic)(tumor)?(and)?)?(netc?|nonenhancing(tissue)?(tumor)?(core)?)"
    ),
    "oedema": re.compile(
        r"(peritumoral|perilesional|vasogenic)?(ed|edema|edematous(invaded)?(tissue)?)|snfh"
        r"|(surrounding)?nonenhancingflairhyperintensity"
    ),
    "enhancing": re.compile(r"(gd|contrast)?(et|enhancing(tissue|tumor|lesion)?(core)?)"),
    "cyst": re.compile(r"cc|cysts?|cystic(tumor)?(components?|parts?|core)?"),
    "cavity": re.compile(r"rc|(resection|surgical|postoperative)?cavity|resection"),
    "tumour": re.compile(r"(brain)?(tumor|lesion|glioma)s?"),
}
_REGIONS: Mapping[str, re.Pattern[str]] = {
    "WT": re.compile(r"wt|(whole|complete)(tumor)?"),
    "TC": re.compile(r"tc|(tumor)?core"),
    "ET": _CLASSES["enhancing"],
}


def channel_of(name: str) -> str | None:
    """Return the sequence that a name means; None if it means none of ours.

    >>> channel_of("T1wCE"), channel_of("T1-post"), channel_of("T2-FLAIR"), channel_of("ADC")
    ('t1c', 't1c', 'flair', None)
    """
    return _meant(name, _CHANNELS)


def class_of(name: str) -> str | None:
    """Return the class of tumour that a name means; None if it means none of ours.

    >>> class_of("non-enhancing tumor"), class_of("SNFH"), class_of("CC"), class_of("WT")
    ('necrosis', 'oedema', 'cyst', None)
    """
    return _meant(name, _CLASSES)


def region_of(name: str) -> str | None:
    """Return the region that a name means; None if it means none of ours.

    >>> region_of("whole_tumor"), region_of("tumour core"), region_of("edema")
    ('WT', 'TC', None)
    """
    return _meant(name, _REGIONS)


def plain(name: str) -> str:
    """Return a name in small letters, digits and `_` alone.

    >>> plain("Left Ventricle (CSF)")
    'left_ventricle_csf'
    """
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def _meant(name: str, patterns: Mapping[str, re.Pattern[str]]) -> str | None:
    letters = re.sub(r"[^a-z0-9]", "", name.lower())
    for british, american in (("tumour", "tumor"), ("oedema", "edema"), ("gadolinium", "gd")):
        letters = letters.replace(british, american)
    return next((word for word, known in patterns.items() if known.fullmatch(letters)), None)

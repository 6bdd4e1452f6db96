"""Data-centre indicators as the EU counts them (Delegated Regulation 2024/1364, ISO/IEC 30134).

Energies may come in any one unit, the same above and below the line. Nuclear power is low-carbon
and not renewable: it never enters REF; report it apart.
"""

from __future__ import annotations

from maillage.errors import OutOfRange


def pue(e_dc: float, e_it: float) -> float:
    """Power usage effectiveness: energy of the data centre / energy of its IT. 1 and above.

    >>> pue(e_dc=10.0, e_it=8.0)
    1.25
    """
    return _ratio("E_DC / E_IT", e_dc, e_it, least=1.0)


def wue_m3_per_mwh(w_in_m3: float, e_it_mwh: float) -> float:
    """Water usage effectiveness: water taken in / energy of IT, m3/MWh (the same as l/kWh).

    Dry cooling takes none.

    >>> wue_m3_per_mwh(w_in_m3=12_000.0, e_it_mwh=8_000.0), wue_m3_per_mwh(0.0, 8_000.0)
    (1.5, 0.0)
    """
    return _ratio("W_IN / E_IT", w_in_m3, e_it_mwh)


def erf(e_reuse: float, e_dc: float) -> float:
    """Energy reuse factor: energy reused outside / energy of the data centre.

    >>> erf(e_reuse=1.5, e_dc=10.0)
    0.15
    """
    return _ratio("E_REUSE / E_DC", e_reuse, e_dc)


def ref(e_res: float, e_dc: float) -> float:
    """Renewable energy factor: renewable energy (owned, bought or guaranteed) / energy of the data centre.

    0 to 1: more renewable energy than is used does not count.

    >>> ref(e_res=6.0, e_dc=10.0)
    0.6
    """
    return min(1.0, _ratio("E_RES / E_DC", e_res, e_dc))


def cue_kg_per_kwh(carbon_kg: float, e_it_kwh: float) -> float:
    """Carbon usage effectiveness: emissions of the data centre's energy / energy of its IT, kgCO2e/kWh.

    >>> cue_kg_per_kwh(carbon_kg=31.3 * 1.07, e_it_kwh=1000.0)
    0.033491
    """
    return _ratio("carbon / E_IT", carbon_kg, e_it_kwh)


def _ratio(name: str, above: float, below: float, least: float = 0.0) -> float:
    if not (above >= 0.0 and below > 0.0):
        raise OutOfRange(f"{name}: {above} / {below} needs 0 or more above the line and more than 0 below")
    ratio = above / below
    if ratio < least:
        raise OutOfRange(f"{name} is {ratio:.3g}, which is below {least:g}: the part exceeds the whole")
    return ratio

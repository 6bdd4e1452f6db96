"""From what a device does to what it draws: idle, peak, and its share of the node around it.

Power grows linearly with utilisation between idle and peak, the common model of servers (Fan, Weber,
Barroso: Power Provisioning for a Warehouse-sized Computer, ISCA 2007) and of GPUs in the Frontier
twin. A node's overhead (CPUs, fans, network) is drawn while the node is up and shared equally by its
units, so that what is held and what nobody holds add up to the site.
"""

from __future__ import annotations

from dataclasses import dataclass

from maillage.errors import OutOfRange
from maillage.network.model import Pool

# What a running unit is taken to do where nothing was metered (assumption): an 8-GPU H100 node trains
# at about 76 % of its rated 10.2 kW; less 2.8 kW overhead and 8 x 70 W idle that is 0.87 of 8 x 630 W.
UTILISATION = 0.87


@dataclass(frozen=True, slots=True)
class UnitPower:
    """Watts of one unit (accelerator, or CPU where a pool has none), at the node's inlet.

    `overhead_w` is the unit's share of its node. Raises OutOfRange unless 0 <= idle <= peak and
    overhead >= 0.
    """

    idle_w: float
    peak_w: float
    overhead_w: float = 0.0

    def __post_init__(self) -> None:
        if not (0.0 <= self.idle_w <= self.peak_w and self.overhead_w >= 0.0):
            raise OutOfRange(
                f"a unit of {self.idle_w} W idle, {self.peak_w} W peak, {self.overhead_w} W overhead: "
                "needs 0 <= idle <= peak and overhead >= 0"
            )

    @property
    def held_w(self) -> float:
        """Drawn while the unit is up, whatever it does."""
        return self.idle_w + self.overhead_w

    @property
    def busy_w(self) -> float:
        """Drawn above that at full utilisation."""
        return self.peak_w - self.idle_w


def unit_power(pool: Pool) -> UnitPower:
    """The watts of one unit of a pool, from the device's sheet in the catalogue."""
    device = pool.device
    return UnitPower(device.idle_w, device.peak_w, device.node_overhead_w / pool.units_per_node)


def unit_w(power: UnitPower, utilisation: float) -> float:
    """Power of one unit at a utilisation of 0 to 1, in watts. Raises OutOfRange outside.

    >>> unit_w(UnitPower(idle_w=70.0, peak_w=700.0, overhead_w=350.0), 0.87)  # an eighth of an H100 node
    968.1
    """
    if not 0.0 <= utilisation <= 1.0:
        raise OutOfRange(f"utilisation {utilisation}: 0 to 1")
    return power.held_w + power.busy_w * utilisation


def pool_it_kw(power: UnitPower, units_up: int, units_busy: int, utilisation: float = UTILISATION) -> float:
    """IT power of a pool now, in kW: every unit that is up, and what the busy ones draw above idle.

    >>> round(pool_it_kw(UnitPower(70.0, 700.0, 350.0), units_up=16, units_busy=8), 4)
    11.1048
    """
    if not 0 <= units_busy <= units_up:
        raise OutOfRange(f"{units_busy} units busy of {units_up} that are up")
    idle_units = units_up - units_busy
    return (units_busy * unit_w(power, utilisation) + idle_units * power.held_w) / 1000.0

"""Device sheets: what an accelerator draws, holds and computes. Every figure names its source on its line.

Power is electrical IT power at the node's inlet. `idle_w` and `peak_w` are per accelerator (per CPU, that
is per hardware thread as the operating system counts, for `cpu`). `node_overhead_w` is what the rest of
the node draws while it is up: CPUs, memory, switches, fans, supplies. Throughput is dense (no sparsity).
Titles and addresses of the sources stand in docs/sources.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from maillage.errors import NotFound

CPU = "cpu"


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One kind of device. `credits_per_hour` is the default price of one, in credits (assumption)."""

    name: str
    vendor: str
    idle_w: float
    peak_w: float
    memory_gib: float
    bf16_tflops: float
    fp8_tflops: float
    node_overhead_w: float
    gpus_per_node: int
    credits_per_hour: float

    def node_idle_w(self, units: int) -> float:
        """A node of `units` devices, up, nothing running."""
        return self.node_overhead_w + units * self.idle_w

    def node_peak_w(self, units: int) -> float:
        """A node of `units` devices, each at its highest.

        >>> accelerator("H100").node_peak_w(8)
        8400.0
        """
        return self.node_overhead_w + units * self.peak_w


_DEVICES = (
    Accelerator(
        name="H100",
        vendor="NVIDIA",
        idle_w=70.0,  # nvidia-smi, memory empty: 64-75 W in 7 public logs
        peak_w=700.0,  # NVIDIA H100 datasheet: SXM, up to 700 W
        memory_gib=80.0,  # NVIDIA H100 datasheet (NVIDIA's GB here and below)
        bf16_tflops=989.0,  # NVIDIA H100 datasheet: 1,979 with sparsity, half of it dense
        fp8_tflops=1979.0,  # NVIDIA H100 datasheet: 3,958 with sparsity, half of it dense
        node_overhead_w=2800.0,  # Latif et al. 2025: 8.4 kW highest seen of an 8-GPU node, less 8 x 700 W
        gpus_per_node=8,  # NVIDIA HGX H100
        credits_per_hour=1.0,  # definition: one credit is one H100-hour
    ),
    Accelerator(
        name="H200",
        vendor="NVIDIA",
        idle_w=78.0,  # nvidia-smi, memory empty: 75-78 W in 5 public logs, 120 W in 2
        peak_w=700.0,  # NVIDIA H200 datasheet: SXM, up to 700 W
        memory_gib=141.0,  # NVIDIA H200 datasheet
        bf16_tflops=989.0,  # NVIDIA H200 datasheet: 1,979 with sparsity, half of it dense
        fp8_tflops=1979.0,  # NVIDIA H200 datasheet: 3,958 with sparsity, half of it dense
        node_overhead_w=2800.0,  # assumption: the node of the H100 (DGX H200 has the same 10.2 kW rating)
        gpus_per_node=8,  # NVIDIA HGX H200
        credits_per_hour=1.2,  # assumption: same compute as H100, more memory
    ),
    Accelerator(
        name="B200",
        vendor="NVIDIA",
        idle_w=140.0,  # nvidia-smi, memory empty: 136-145 W in 4 public logs
        peak_w=1000.0,  # NVIDIA HGX B200: up to 1,000 W
        memory_gib=180.0,  # NVIDIA DGX B200 datasheet: 1,440 GB in 8
        bf16_tflops=2250.0,  # NVIDIA Blackwell architecture brief: HGX B200, dense
        fp8_tflops=4500.0,  # NVIDIA Blackwell architecture brief: HGX B200, dense
        node_overhead_w=3800.0,  # assumption: DGX B200 rating 14.3 kW x 0.82 (as H100's node), less 8 kW
        gpus_per_node=8,  # NVIDIA HGX B200
        credits_per_hour=2.3,  # assumption: by dense BF16 throughput against H100
    ),
    Accelerator(
        name="GB200-NVL72",
        vendor="NVIDIA",
        idle_w=166.0,  # nvidia-smi, memory empty: 156-181 W in 5 public logs
        peak_w=1200.0,  # NVIDIA Blackwell architecture brief: GB200, 1,200 W
        memory_gib=186.0,  # NVIDIA GB200 NVL72 page: 13.4 TB in 72
        bf16_tflops=2500.0,  # NVIDIA Blackwell architecture brief: GB200, dense
        fp8_tflops=5000.0,  # NVIDIA Blackwell architecture brief: GB200, dense
        node_overhead_w=1870.0,  # rack of 120 kW / 18 trays, less 4 x 1,200 W: Grace CPUs, switches, shelves
        gpus_per_node=4,  # NVIDIA GB200 NVL72: 18 compute trays of 4
        credits_per_hour=2.5,  # assumption: by dense BF16 throughput against H100
    ),
    Accelerator(
        name="GB300-NVL72",
        vendor="NVIDIA",
        idle_w=214.0,  # nvidia-smi, memory empty: mean of 172, 234 and 237 W in 3 public logs
        peak_w=1400.0,  # NVIDIA GB300 (Blackwell Ultra): up to 1,400 W
        memory_gib=288.0,  # NVIDIA GB300 NVL72 page: 288 GB HBM3e per GPU
        bf16_tflops=2500.0,  # NVIDIA GB300 NVL72 page: 360 PFLOP/s with sparsity in 72, half of it dense
        fp8_tflops=5000.0,  # NVIDIA GB300 NVL72 page: 720 PFLOP/s with sparsity in 72, half of it dense
        node_overhead_w=2290.0,  # rack of up to 142 kW / 18 trays, less 4 x 1,400 W
        gpus_per_node=4,  # NVIDIA GB300 NVL72: 18 compute trays of 4
        credits_per_hour=3.0,  # assumption: as GB200 with more memory and FP4
    ),
    Accelerator(
        name="MI300X",
        vendor="AMD",
        idle_w=146.0,  # rocm-smi, memory empty: 131-177 W in 9 public logs
        peak_w=750.0,  # AMD Instinct MI300X data sheet: 750 W peak board power
        memory_gib=192.0,  # AMD Instinct MI300X data sheet
        bf16_tflops=1307.4,  # AMD Instinct MI300X data sheet: dense
        fp8_tflops=2614.9,  # AMD Instinct MI300X data sheet: dense
        node_overhead_w=2800.0,  # assumption: an 8-GPU air-cooled node as that of the H100
        gpus_per_node=8,  # AMD Instinct MI300X platform
        credits_per_hour=1.0,  # assumption: as H100
    ),
    Accelerator(
        name="MI250X",
        vendor="AMD",
        idle_w=88.0,  # ExaDigiT RAPS, config/frontier.yaml: power_gpu_idle
        peak_w=560.0,  # ExaDigiT RAPS, config/frontier.yaml: power_gpu_max
        memory_gib=128.0,  # AMD Instinct MI250X data sheet
        bf16_tflops=383.0,  # AMD Instinct MI250X data sheet: dense
        fp8_tflops=0.0,  # none: the device has no FP8
        node_overhead_w=304.0,  # ExaDigiT RAPS: CPU 90 + memory 74 + 4 network cards of 20 + 2 disks of 30 W
        gpus_per_node=4,  # Frontier: 4 modules a node
        credits_per_hour=0.4,  # assumption: by dense BF16 throughput against H100
    ),
    Accelerator(
        name="A100",
        vendor="NVIDIA",
        idle_w=88.0,  # ExaDigiT RAPS, config/selene.yaml: power_gpu_idle
        peak_w=400.0,  # NVIDIA A100 datasheet: SXM, 400 W
        memory_gib=80.0,  # NVIDIA A100 datasheet
        bf16_tflops=312.0,  # NVIDIA A100 datasheet: dense
        fp8_tflops=0.0,  # none: the device has no FP8
        node_overhead_w=2100.0,  # assumption: DGX A100 rating 6.5 kW x 0.82 (as H100's node), less 3.2 kW
        gpus_per_node=8,  # NVIDIA DGX A100
        credits_per_hour=0.35,  # assumption: by dense BF16 throughput against H100
    ),
    Accelerator(
        name=CPU,
        vendor="any",
        idle_w=1.5,  # assumption: a 64-thread server of about 100 W idle
        peak_w=6.0,  # assumption: the same server at about 380 W
        memory_gib=0.0,  # none of its own
        bf16_tflops=0.05,  # assumption: order of magnitude of one AVX-512 thread
        fp8_tflops=0.0,  # none
        node_overhead_w=0.0,  # counted in the CPUs, so that a laptop is no server
        gpus_per_node=0,
        credits_per_hour=0.01,  # assumption: a hundred CPU-hours to an H100-hour
    ),
)

ACCELERATORS: dict[str, Accelerator] = {device.name: device for device in _DEVICES}


def accelerator(name: str) -> Accelerator:
    """The sheet of a device. Raises NotFound with the names there are."""
    try:
        return ACCELERATORS[name]
    except KeyError:
        raise NotFound(f"no accelerator {name!r}; known: {', '.join(ACCELERATORS)}") from None

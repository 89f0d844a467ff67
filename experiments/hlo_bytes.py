"""Count the kernels that a compiled program launches and the bytes they move, from the text of its optimised HLO.

An instruction outside of fusions reads its operands and writes its result; a fusion does both once, whatever is inside.
A slice of an operand counts as the slice, an update in place as the update. The body of a loop counts as often as XLA
knows that it runs, of a conditional the branch that moves most. Each of these instructions counts as one kernel, also
those that call a library. What stays in a cache counts all the same, so the sum
is an upper bound of the traffic to memory.

The kernels of `jaxnas.networks.kernels.fused` read the images of those architectures alone whose op needs them. The
text does not say which they are: the caller gives the shares, see `Chosen`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "s64": 8, "u64": 8, "f64": 8, "c64": 8}
FREE = {"parameter", "tuple", "get-tuple-element", "bitcast", "constant", "after-all", "iota", "partition-id"}
HEAVY = ("scatter", "convolution", "dot")  # what a fusion is named by, if it has one
SLICES = ("dynamic-slice", "slice", "gather")
INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) (?:\(.*\) -> .*)?\{")
SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
NAME = re.compile(r"%([\w.\-]+)")
CALLED = re.compile(r"(?:body|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
FUSED = re.compile(r"calls=%?([\w.\-]+)")
TRIPS = re.compile(r"known_trip_count[^0-9]*(\d+)")
TARGET = re.compile(r'custom_call_target="([^"]+)"')
OP_NAME = re.compile(r'op_name="([^"]*)"')
PALLAS = re.compile(r"(\w+)/pallas_call$")  # at the end of the op_name


class Instruction(NamedTuple):
    """An instruction of HLO.

    Attributes:
        name: Its name.
        is_root: Whether its computation returns it.
        size: Bytes of its result.
        dimensions: Of its result, or of the first array of it.
        opcode: What it does.
        operands: The names of what it reads.
        rest: The text behind its name, operands and attributes.
    """

    name: str
    is_root: bool
    size: int
    dimensions: tuple[int, ...]
    opcode: str
    operands: list[str]
    rest: str

    @property
    def op_name(self) -> str:
        """The path in the Python program that it is from."""
        found = OP_NAME.search(self.rest)
        return found[1] if found else ""

    @property
    def pallas(self) -> str:
        """The name of its Pallas kernel, or nothing."""
        found = PALLAS.search(self.op_name) if self.opcode == "custom-call" else None
        return found[1] if found else ""


class Chosen(NamedTuple):
    """The shares of all edges of all architectures of a chunk that chose some ops; 1 is an upper bound.

    Attributes:
        some: Any op but none.
        convolution: A convolution.
        by_taps: A convolution with so many taps, 9 for 3 x 3.
    """

    some: float = 1.0
    convolution: float = 1.0
    by_taps: Mapping[int, float] = MappingProxyType({})


ANY = Chosen()  # every op is chosen by all


class Kernel(NamedTuple):
    """An instruction that launches a kernel.

    Attributes:
        instruction: The instruction.
        kind: See `kind_of`.
        times: How often it runs.
        size: Bytes that it reads and writes each time.
        loop: The outermost loop in which it is, if any.
    """

    instruction: Instruction
    kind: str
    times: int
    size: int
    loop: Instruction | None

    @property
    def moved(self) -> int:
        """Bytes that all its runs read and write."""
        return self.times * self.size


def parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """Return the instructions of each computation, and the name of the first computation that runs."""
    computations: dict[str, list[Instruction]] = {}
    entry = name = ""
    for line in text.splitlines():
        if line.startswith(("%", "ENTRY")) and (found := COMPUTATION.match(line)):
            name = found[2]
            computations[name] = []
            entry = name if found[1] else entry
        elif name and (found := INSTRUCTION.match(line)):
            operands = NAME.findall(found[5].split("), ")[0])
            first = SHAPE.search(found[3])
            dimensions = tuple(map(int, filter(None, first[2].split(",")))) if first else ()
            computations[name].append(
                Instruction(found[2], bool(found[1]), _bytes(found[3]), dimensions, found[4], operands, found[5])
            )
    return computations, entry


def count_bytes(text: str, chosen: Chosen = ANY) -> Counter[str]:
    """Return the bytes that one run of the program moves, by kind, see `kind_of`."""
    total: Counter[str] = Counter()
    for kernel in find_kernels(text, chosen):
        total[kernel.kind] += kernel.moved
    return total


def find_kernels(text: str, chosen: Chosen = ANY) -> list[Kernel]:
    """Return what launches kernels in one run of the program."""
    computations, entry = parse(text)

    def find(name: str, times: int, loop: Instruction | None) -> Iterator[Kernel]:
        known = {one.name: one for one in computations[name]}
        for one in computations[name]:
            if one.opcode in FREE:
                continue
            if one.opcode in ("while", "conditional", "call") or one.opcode.startswith("async"):
                inside = [*CALLED.findall(one.rest), *FUSED.findall(one.rest)]
                inside += [branch for group in BRANCHES.findall(one.rest) for branch in NAME.findall(group)]
                is_loop = one.opcode == "while"
                trips = times * (int(found[1]) if is_loop and (found := TRIPS.search(one.rest)) else 1)
                outermost = loop or (one if is_loop else None)
                bodies = [list(find(called, trips, outermost)) for called in inside if called in computations]
                yield from max(bodies, key=lambda body: sum(kernel.moved for kernel in body), default=[])
            else:
                fused = FUSED.search(one.rest)
                body = computations.get(fused[1], []) if one.opcode == "fusion" and fused else []
                size = _moved_by_pallas(one, known, chosen) if one.pallas else _moved(one, known, body)
                yield Kernel(one, _kind(one, body), times, size, loop)

    return list(find(entry, 1, None))


def _kind(one: Instruction, body: list[Instruction]) -> str:
    """Return the kind of an instruction; of a fusion, from what is heavy in it."""
    if one.opcode == "fusion":
        return kind_of(next((each.opcode for each in body if each.opcode in HEAVY), one.name))
    target = TARGET.search(one.rest) if one.opcode == "custom-call" else None
    return kind_of(one.pallas or (target[1] if target else one.opcode))


def _moved(one: Instruction, known: Mapping[str, Instruction], body: list[Instruction]) -> int:
    """Return the bytes that an instruction reads and writes."""
    read = [known[operand].size if operand in known else 0 for operand in one.operands]
    if one.opcode in SLICES:
        return 2 * one.size
    if one.opcode == "dynamic-update-slice":
        return 2 * read[1]
    for each in body:
        if each.opcode == "parameter" and (number := int(each.rest.split(")")[0])) < len(read):
            read[number] = _read(each, body)
    inner = {each.name: each for each in body}
    return sum(read) + sum(_written(each, inner) for each in body if each.is_root) + (0 if body else one.size)


def _read(value: Instruction, body: list[Instruction]) -> int:
    """Return how much of a value the instructions of a fusion read: slices of it, nothing where it is updated."""
    total = 0
    for user in body:
        if value.name not in user.operands:
            continue
        if user.opcode == "bitcast":
            total += _read(user, body)
        elif user.operands[0] == value.name and user.opcode in SLICES:
            total += user.size
        elif user.operands[0] != value.name or user.opcode != "dynamic-update-slice":
            total += value.size
    return min(total, value.size)


def _written(value: Instruction, body: Mapping[str, Instruction]) -> int:
    """Return how much of the result of a fusion is written: of what is updated in place, the update."""
    if value.opcode == "dynamic-update-slice":
        return body[value.operands[1]].size if value.operands[1] in body else value.size
    if value.opcode in ("bitcast", "tuple") and all(operand in body for operand in value.operands):
        return sum(_written(body[operand], body) for operand in value.operands)
    return value.size


def _moved_by_pallas(one: Instruction, known: Mapping[str, Instruction], chosen: Chosen) -> int:
    """Return the bytes that a Pallas kernel reads and writes: each buffer once, by the largest share that it needs."""
    operands = [known[name] for name in one.operands]
    shares = shares_read(one.pallas, [operand.dimensions for operand in operands], one.dimensions, chosen)
    read: dict[str, float] = {}
    for operand, share in zip(operands, shares, strict=True):
        buffer = operand
        while buffer.opcode == "bitcast":
            buffer = known[buffer.operands[0]]
        read[buffer.name] = max(read.get(buffer.name, 0.0), share * operand.size)
    return round(sum(read.values())) + one.size


def shares_read(name: str, operands: Sequence[tuple[int, ...]], result: tuple[int, ...], chosen: Chosen) -> list[float]:
    """Return the share of each operand that a kernel of `jaxnas.networks.kernels.fused` reads; of other kernels 1.

    - map_images (op, gate, x, kernels and more terms, bias): the gate for convolutions, x for all but none, the x of
      other terms for convolutions, kernels of each architecture for convolutions of that size.
    - sum_images (chosen, u, pivot, v): u and v for convolutions.
    - kernel_gradients (members, gate, x, g), the result [G parts taps C C]: the images for convolutions of that size.

    Args:
        name: The name of the kernel.
        operands: The dimensions of its operands; images are [A P C], members [G], kernels [B taps C C].
        result: The dimensions of its result.
        chosen: The shares of ops.
    """
    images = [number for number, dimensions in enumerate(operands) if len(dimensions) == 3]
    shares = [1.0] * len(operands)
    if name == "map_images":
        for number, dimensions in enumerate(operands):
            if len(dimensions) == 4 and dimensions[0] == result[0]:
                shares[number] = chosen.by_taps.get(dimensions[1], 1.0)
        shares = [chosen.convolution if number in images else share for number, share in enumerate(shares)]
        shares[images[1]] = chosen.some
    elif name == "sum_images":
        shares = [chosen.convolution if number in images else 1.0 for number in range(len(operands))]
    elif name == "kernel_gradients":
        of_size = chosen.by_taps.get(result[2], 1.0)
        shares = [of_size if number in images else 1.0 for number in range(len(operands))]
    return shares


def _bytes(shapes: str) -> int:
    """Return the bytes of an array or of a tuple of arrays, as HLO writes their shapes."""
    total = 0
    for kind, dimensions in SHAPE.findall(shapes):
        number = SIZES.get(kind, 4)
        for dimension in filter(None, dimensions.split(",")):
            number *= int(dimension)
        total += number
    return total


KINDS = (
    ("ops of edges", "map_images"),
    ("sums of edges", "sum_images"),
    ("gradients of edges", "kernel_gradients"),
    ("scatter", "scatter"),
    ("gather", "gather|dynamic_slice|dynamic-slice"),
    ("convolutions", "conv|cudnn|fprop|dgrad|wgrad|implicit"),
    ("matrix products", r"gemm|dot|cublas|cutlass|matmul|nvjet|xmma|triton_softmax"),
    ("concatenation", "concatenate|concat"),
    ("reductions", "reduce|norm"),
    ("selections", "select|compare|clamp"),
    ("copies and transposes", "copy|transpose|memcpy|memset|broadcast|pad|slice"),
    ("elementwise", "fusion|loop|add|multiply|subtract|divide|exponential|convert|rsqrt|maximum"),
)


def kind_of(name: str) -> str:
    """Return the kind of a kernel or an instruction, from its name."""
    return next((kind for kind, pattern in KINDS if re.search(pattern, name.lower())), "others")

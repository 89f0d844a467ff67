"""Count the bytes that a compiled program moves, by kind of instruction, from the text of its optimised HLO.

An instruction outside of fusions reads its operands and writes its result; a fusion does both once, whatever is inside.
A slice of an operand counts as the slice, an update in place as the update. The body of a loop counts as often as XLA
knows that it runs, of a conditional the branch that moves most. What stays in a cache counts all the same, so that the
sum is an upper bound of the traffic to memory.
"""

import re
from collections import Counter
from typing import NamedTuple

SIZES = {"pred": 1, "s8": 1, "u8": 1, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "s64": 8, "u64": 8, "f64": 8, "c64": 8}
FREE = {"parameter", "tuple", "get-tuple-element", "bitcast", "constant", "after-all", "iota", "partition-id"}
HEAVY = ("scatter", "convolution", "dot")  # what a fusion is named by, if it has one
INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*?) ([a-z][\w\-]*)\((.*)$")
COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) (?:\(.*\) -> .*)?\{")
SHAPE = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
NAME = re.compile(r"%([\w.\-]+)")
CALLED = re.compile(r"(?:body|to_apply|true_computation|false_computation)=%?([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
FUSED = re.compile(r"calls=%?([\w.\-]+)")
TRIPS = re.compile(r"known_trip_count[^0-9]*(\d+)")


class Instruction(NamedTuple):
    """An instruction of HLO.

    Attributes:
        name: Its name.
        is_root: Whether its computation returns it.
        size: Bytes of its result.
        opcode: What it does.
        operands: The names of what it reads.
        rest: The text behind its name, operands and attributes.
    """

    name: str
    is_root: bool
    size: int
    opcode: str
    operands: list[str]
    rest: str


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
            computations[name].append(
                Instruction(found[2], bool(found[1]), _bytes(found[3]), found[4], operands, found[5])
            )
    return computations, entry


def count_bytes(text: str) -> Counter[str]:
    """Return the bytes that one run of the program moves, by kind, see `kind_of`."""
    computations, entry = parse(text)

    def count(name: str) -> Counter[str]:
        total: Counter[str] = Counter()
        sizes = {one.name: one.size for one in computations[name]}
        for one in computations[name]:
            if one.opcode in FREE:
                continue
            if one.opcode in ("while", "conditional", "call") or one.opcode.startswith("async"):
                inside = [*CALLED.findall(one.rest), *FUSED.findall(one.rest)]
                inside += [branch for group in BRANCHES.findall(one.rest) for branch in NAME.findall(group)]
                counted = [count(called) for called in inside if called in computations]
                trips = int(found[1]) if one.opcode == "while" and (found := TRIPS.search(one.rest)) else 1
                for kind, number in max(counted, key=lambda of: of.total(), default=Counter()).items():
                    total[kind] += trips * number
            else:
                fused = FUSED.search(one.rest)
                body = computations.get(fused[1], []) if one.opcode == "fusion" and fused else []
                heavy = next((each.opcode for each in body if each.opcode in HEAVY), one.name)
                total[kind_of(heavy if one.opcode == "fusion" else one.opcode)] += _moved(one, sizes, body)
        return total

    return count(entry)


def _moved(one: Instruction, sizes: dict[str, int], body: list[Instruction]) -> int:
    """Return the bytes that an instruction reads and writes."""
    read = [sizes.get(operand, 0) for operand in one.operands]
    if one.opcode in ("dynamic-slice", "slice", "gather"):
        return 2 * one.size
    if one.opcode == "dynamic-update-slice":
        return 2 * read[1]
    written = one.size
    inner = {each.name: each.size for each in body}
    for each in body:
        users = [other for other in body if each.name in other.operands]
        if each.opcode == "parameter" and users:
            number = int(each.rest.split(")")[0])
            if number < len(read) and all(other.opcode in ("dynamic-slice", "slice", "gather") for other in users):
                read[number] = min(read[number], sum(other.size for other in users))
            elif number < len(read) and all(_updates(other, each.name) for other in users):
                read[number] = 0
        if each.is_root and each.opcode == "dynamic-update-slice":
            written = inner.get(each.operands[1], written)
    return sum(read) + written


def _updates(one: Instruction, name: str) -> bool:
    """Return whether an instruction writes a part of `name` in place."""
    return one.opcode == "dynamic-update-slice" and one.operands[:1] == [name]


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

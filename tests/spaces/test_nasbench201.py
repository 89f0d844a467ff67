"""NAS-Bench-201 against published strings and columns, and its network classes against brute force."""

import itertools

import numpy as np
import pytest

from jaxnas.errors import InputError
from jaxnas.spaces import NASBENCH201, enumerate_archs, from_index, to_index
from jaxnas.spaces.nasbench201 import (
    EDGES,
    NOR_CONV_1X1,
    NOR_CONV_3X3,
    canonicalize,
    format_arch,
    functional_class,
    isomorph_class,
    network_class,
    parse,
)

PUBLISHED = {
    0: "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|skip_connect~2|",
    1: "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_3x3~1|skip_connect~2|",
    857: "|nor_conv_1x1~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
    6111: "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|",
    9930: "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|",
    15624: "|nor_conv_1x1~0|+|none~0|nor_conv_1x1~1|+|none~0|nor_conv_1x1~1|nor_conv_1x1~2|",
}
CLASSES = [functional_class, network_class, isomorph_class]


@pytest.fixture(scope="module")
def archs():
    return enumerate_archs(NASBENCH201)


@pytest.fixture(scope="module")
def table(data_folder):
    return np.load(data_folder / "nb201" / "nb201_table.npz")


@pytest.mark.parametrize(("index", "text"), PUBLISHED.items())
def test_published_string_at_its_index(index, text):
    arch = from_index(NASBENCH201, index)
    assert format_arch(arch) == text
    np.testing.assert_array_equal(parse(f"  {text}\n"), arch)
    assert to_index(NASBENCH201, arch[None]).tolist() == [index]


def test_op_and_edge_order():
    ops = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3", "none"]
    text = "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*ops)
    assert parse(text).tolist() == [0, 1, 2, 3, 4, 0]
    assert EDGES == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))


@pytest.mark.data
def test_order_and_strings_equal_the_table(archs, table):
    np.testing.assert_array_equal(archs, table["ops"])
    assert [format_arch(arch) for arch in archs] == [text.decode() for text in table["arch"]]


@pytest.mark.data
def test_classes_equal_the_table(archs, table):
    np.testing.assert_array_equal(to_index(NASBENCH201, canonicalize(archs)), table["canonical_idx"])
    np.testing.assert_array_equal(isomorph_class(archs), table["isomorph_idx"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "architecture '' must have 3 nodes, like '|none~0|+|none~0|none~1|+|none~0|none~1|none~2|', got 1"),
        ("|none~0|+|none~0|none~1|", "none~2|', got 2"),
        ("|none~0|\n+" * 100, "none~2|', got 101"),
        ("|none~0|+|none~0|+|none~0|none~1|none~2|", "node 2 must be 2 x 'op~source' between bars"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2", "node 3 must be 3 x 'op~source' between bars"),
        ("|+|none~0|none~1|+|none~0|none~1|none~2|", "node 1 must be 1 x 'op~source' between bars"),
        ("|none~0|+|none~1|none~0|+|none~0|none~1|none~2|", "entry 'none~1' of node 2 must end in '~0'"),
        ("|none|+|none~0|none~1|+|none~0|none~1|none~2|", "entry 'none' of node 1 must end in '~0'"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|conv_3x3~2|", "unknown op 'conv_3x3': did you mean 'nor_conv_3x3'?"),
        ("|none~0|+|none~0|none~1|+|none~0|none~1|~2|", "unknown op ''"),
    ],
)
def test_malformed_string_is_one_clear_line(text, message):
    with pytest.raises(InputError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_format_refuses_unknown_ops():
    with pytest.raises(InputError, match="architecture 0 has -1 at decision 5"):
        format_arch(np.array([0, 0, 0, 0, 0, -1], np.int8))


def test_canonicalize_keeps_the_edges_of_all_open_paths(archs):
    paths = [(3,), (0, 4), (1, 5), (0, 2, 5)]  # edges of the four ways from node 0 to node 3
    for arch, canonical in zip(archs.tolist(), canonicalize(archs).tolist(), strict=True):
        live = {edge for path in paths if all(arch[edge] for edge in path) for edge in path}
        assert canonical == [arch[edge] if edge in live else 0 for edge in range(6)]


def test_canonicalize_fixed_points(archs):
    assert np.sum(np.all(canonicalize(archs) == archs, axis=1)) == 9445
    assert canonicalize(archs[:0]).shape == (0, 6)


@pytest.mark.parametrize(("classes", "count"), [*zip(CLASSES, [4930, 5260, 6466], strict=True)])
def test_number_of_classes(archs, classes, count):
    label = classes(archs)
    assert len(np.unique(label)) == count
    np.testing.assert_array_equal(label[label], label)
    assert np.all(label <= np.arange(len(archs)))


def test_finer_classes_lie_inside_functional_ones(archs):
    label = functional_class(archs)
    for finer in network_class(archs), isomorph_class(archs):
        np.testing.assert_array_equal(label[finer], label)


def test_only_network_class_tells_shared_weights_from_separate_ones():
    """Two convolutions of the input, and one convolution added to itself, have the same terms but are two networks."""
    pair = np.stack(
        [
            parse("|nor_conv_3x3~0|+|none~0|none~1|+|nor_conv_3x3~0|skip_connect~1|none~2|"),
            parse("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|skip_connect~1|skip_connect~2|"),
        ]
    )
    assert len(set(functional_class(pair).tolist())) == 1
    assert len(set(network_class(pair).tolist())) == 2


@pytest.mark.parametrize(("classes", "count"), [(functional_class, 326), (network_class, 0), (isomorph_class, 430)])
def test_number_of_classes_that_mix_weight_counts(archs, classes, count):
    live = canonicalize(archs)
    num_convs = np.stack([np.sum(live == op, axis=1) for op in (NOR_CONV_1X1, NOR_CONV_3X3)])
    label = classes(archs)
    assert len(np.unique(label[np.any(num_convs != num_convs[:, label], axis=0)])) == count


def symbolic(arch, weight_names, *, linear_pool=False):
    """Return the output as nested sorted sums, in which the convolution of edge e has the name weight_names[e]."""
    sums = [(("x",),)]
    for node in (1, 2, 3):
        terms = []
        for edge, (source, target) in enumerate(EDGES):
            below = sums[source] if target == node and arch[edge] else ()
            if arch[edge] == 1:
                terms += below
            elif arch[edge] == 4 and linear_pool:
                terms += [("4", (term,)) for term in below]
            elif below:
                terms.append((f"{arch[edge]}{weight_names.get(edge, '')}", below))
        sums.append(tuple(sorted(terms)))
    return sums[3]


def test_functional_class_by_expressions(archs):
    assert_same_partition(functional_class(archs), [symbolic(arch, {}) for arch in archs.tolist()])


def test_linear_pooling_would_merge_further(archs):
    assert len({symbolic(arch, {}, linear_pool=True) for arch in archs.tolist()}) == 4660


def test_network_class_by_renaming_weights(archs):
    """Compare by brute force: networks are equal if some permutation of kernel names equates the expressions."""
    expressions = []
    for arch in canonicalize(archs).tolist():
        convs = [edge for edge in range(6) if arch[edge] in (NOR_CONV_1X1, NOR_CONV_3X3)]
        renamings = (dict(zip(convs, names, strict=True)) for names in itertools.permutations(range(len(convs))))
        expressions.append(min(symbolic(arch, names) for names in renamings))
    assert_same_partition(network_class(archs), expressions)


def assert_same_partition(label, keys):
    pairs = set(zip(label.tolist(), keys, strict=True))
    assert len(pairs) == len(set(keys)) == len(set(label.tolist()))


@pytest.mark.parametrize("classes", [functional_class, network_class])
def test_isomorphic_rewrites_keep_the_class(archs, classes):
    label = classes(archs)
    swappable = archs[archs[:, 2] == 0]  # nodes 1 and 2 are not connected: exchange their names
    np.testing.assert_array_equal(classes(swappable), classes(swappable[:, [1, 0, 2, 3, 5, 4]]))
    np.testing.assert_array_equal(classes(canonicalize(archs)), label)
    alias = archs[(archs[:, 1] == 0) & (archs[:, 2] == 1)]  # node 2 equals node 1: exchange their edges to the output
    np.testing.assert_array_equal(classes(alias), classes(alias[:, [0, 1, 2, 3, 5, 4]]))


def test_different_functions_have_different_classes():
    texts = [
        "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|",  # conv3x3
        "|nor_conv_1x1~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|",  # conv1x1
        "|nor_conv_3x3~0|+|none~0|none~1|+|skip_connect~0|skip_connect~1|none~2|",  # x + conv3x3
        "|nor_conv_3x3~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|",  # conv3x3 of conv3x3
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|",  # no term
        "|none~0|+|none~0|none~1|+|skip_connect~0|none~1|none~2|",  # x
    ]
    archs = np.stack([parse(text) for text in texts])
    for classes in CLASSES:
        assert len(set(classes(archs).tolist())) == len(texts)

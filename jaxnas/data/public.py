"""The public tables and image sets that jaxnas knows: what they are, and where they come from."""

from typing import NamedTuple


class PublicFile(NamedTuple):
    """A file to download.

    Attributes:
      path: path within the data folder; its last part is also the last part of `address`.
      address: URL of the file.
      checksum: "md5:" or "sha256:", followed by the hexadecimal digest.
    """

    path: str
    address: str
    checksum: str


class PublicData(NamedTuple):
    """One data set and its source.

    Attributes:
      name: key in `DATASETS`.
      kind: "table" or "images".
      about: one line of description.
      size: bytes; 0 for a part of an installed package.
      licence: licence or terms of use.
      address: public page of the data or of its sources.
      places: glob patterns within the data folder in order of preference; one match is enough.
      files: files that `download` fetches, all of which are needed; empty if there is no direct download.
      num_classes: classes of an image set; None for a table.
      class_names: the names of the classes; empty if they have numbers alone.
    """

    name: str
    kind: str
    about: str
    size: int
    licence: str
    address: str
    places: tuple[str, ...] = ()
    files: tuple[PublicFile, ...] = ()
    num_classes: int | None = None
    class_names: tuple[str, ...] = ()


CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
willow_tree wolf woman worm
"""
CIFAR100_CLASSES = tuple(_CIFAR100_CLASSES.split())


def _cifar(num_classes: int, size: int, folders: tuple[str, str], md5: str) -> PublicData:
    python, binary = f"cifar-{num_classes}-python.tar.gz", f"cifar-{num_classes}-binary.tar.gz"
    return PublicData(
        f"cifar{num_classes}",
        "images",
        f"60,000 photographs, 32x32 colour, {num_classes} classes",
        size,
        "none stated; cite Krizhevsky 2009",
        "https://www.cs.toronto.edu/~kriz/cifar.html",
        (f"cifar{num_classes}/*.npz", folders[0], python, folders[1], binary),
        (PublicFile(python, f"https://www.cs.toronto.edu/~kriz/{python}", f"md5:{md5}"),),
        num_classes,
        CIFAR10_CLASSES if num_classes == 10 else CIFAR100_CLASSES,
    )


def _robot(file: str, sha256: str) -> PublicFile:
    address = "https://raw.githubusercontent.com/hzf1174/RoBoT/1202f032a841735a2a45d41942372f1e95aa0cf1/data"
    return PublicFile(f"nb201/robot_raw/{file}", f"{address}/{file}", f"sha256:{sha256}")


def _bert(file: str, sha256: str) -> PublicFile:
    commit = "2d76e01b9586cad7340e8268dadba3056efd070b"
    address = f"https://raw.githubusercontent.com/aaronserianni/training-free-nas/{commit}/data/{file}"
    return PublicFile(f"nb_bert/{file}", address, f"sha256:{sha256}")


def _transnas(space: str, size: int, content: int) -> PublicData:
    return PublicData(
        f"transnas101-{space}",
        "table",
        f"TransNAS-Bench-101 {space}: validation metrics of {size:,} architectures on seven tasks, 13 proxies",
        content,
        "see its page; proxies Apache-2.0 (NAS-Bench-Suite-Zero)",
        "https://github.com/yawen-d/TransNASBench",
        (f"tnb101/tnb101_{space}.npz",),
    )


DATASETS: dict[str, PublicData] = {
    "digits": PublicData(
        "digits",
        "images",
        "1,797 handwritten digits, 8x8 grey, 10 classes",
        0,
        "BSD-3-Clause (scikit-learn)",
        "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
        num_classes=10,
    ),
    "cifar10": _cifar(
        10, 170_498_071, ("cifar-10-batches-py", "cifar-10-batches-bin"), "c58f30108f718f92721af3b95e74349a"
    ),
    "cifar100": _cifar(100, 169_001_437, ("cifar-100-python", "cifar-100-binary"), "eb9058c3a382ffc7106e4002c42a8d85"),
    "tiny16": PublicData(
        "tiny16",
        "images",
        "12,000 photographs of Tiny ImageNet, 16x16 colour, 120 classes (stands in for ImageNet16-120)",
        8_844_277,
        "ImageNet terms: non-commercial research",
        "http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        ("tiny16/*.npz",),
        num_classes=120,
    ),
    "nasbench201": PublicData(
        "nasbench201",
        "table",
        "NAS-Bench-201: accuracies of 15,625 architectures on three data sets, 12 and 200 epochs",
        1_172_856,
        "MIT (NATS-Bench), Apache-2.0 (NASGraph, RoBoT)",
        "https://github.com/D-X-Y/NATS-Bench",
        ("nb201/nb201_table.npz",),
    ),
    "nasbench201-proxies": PublicData(
        "nasbench201-proxies",
        "table",
        "NAS-Bench-Suite-Zero: 13 proxies of the NAS-Bench-201 architectures on three data sets",
        2_637_390,
        "Apache-2.0",
        "https://github.com/automl/NASLib/tree/zerocost",
        ("nb201/nb201_proxies.npz",),
    ),
    "robot": PublicData(
        "robot",
        "table",
        "NAS-Bench-201 as RoBoT published it: 12-epoch CIFAR-10 validation, 200-epoch test accuracies",
        3_183_339,
        "Apache-2.0",
        "https://github.com/hzf1174/RoBoT",
        files=(
            _robot("nb2_cf10_hp12_info.p", "1217bae8967cc2539bb7a09a2ebe47b8ca19e1813d959bc0b2ad6472e6a67497"),
            _robot("nb2_cf10_test_accuracy.p", "c3c3f4b9a091886cad445149dcf608e1025b82ffca30fcf405f144cd7da078f4"),
            _robot("nb2_cf100_test_accuracy.p", "fd1db96cd490146a33455dc9e3b33cf4ed4c68e1dba552d7d6de0898616ac1b6"),
            _robot("nb2_im120_test_accuracy.p", "312e7e45215d0f40ec0a35deae6f3d224dd39ab4ace539909d9f95c8e82ab09c"),
        ),
    ),
    "nasbench201-hardware": PublicData(
        "nasbench201-hardware",
        "table",
        "HW-NAS-Bench: latency and energy of the NAS-Bench-201 architectures on ten devices",
        912_943,
        "MIT",
        "https://github.com/GATECH-EIC/HW-NAS-Bench",
        ("nb201/nb201_hw.npz",),
    ),
    "transnas101-micro": _transnas("micro", 4_096, 2_039_812),
    "transnas101-macro": _transnas("macro", 3_256, 1_824_603),
    "nasbench101-sample": PublicData(
        "nasbench101-sample",
        "table",
        "NAS-Bench-101: 500 cells of NAS-Bench-Suite-Zero with accuracies and proxies",
        160_536,
        "Apache-2.0",
        "https://github.com/automl/NASLib/tree/zerocost",
        ("nb101/nb101_sample.npz",),
    ),
    "accel-nasbench": PublicData(
        "accel-nasbench",
        "table",
        "Accel-NASBench: ImageNet accuracies of 5,138 MnasNet-like networks, throughput on six devices",
        267_345,
        "Apache-2.0",
        "https://github.com/afzalxo/Accel-NASBench",
        ("accel_nasbench/accel_nasbench.npz",),
    ),
    "language-models": PublicData(
        "language-models",
        "table",
        "LiteTransformerSearch: perplexities of GPT-2 and Transformer-XL configurations",
        585_103,
        "MIT",
        "https://github.com/microsoft/archai/tree/neurips-lts",
        ("lts/lts.json",),
    ),
    "nasbench-bert": PublicData(
        "nasbench-bert",
        "table",
        "NAS-Bench-BERT: GLUE scores and 14 proxies of 500 FlexiBERT networks",
        600_087,
        "CC-BY-4.0",
        "https://github.com/aaronserianni/training-free-nas",
        files=(
            _bert("BERT_benchmark.json", "fa2ff7198dcd71e0b8021ed2ace1c221672c33cc56931b6dff31fda3d044784f"),
            _bert("BERT_results_activation.csv", "95fb60a0e702102d6b09a60d13745068270aa28183b7cc8dacb79d5ec6a4b36d"),
        ),
    ),
}

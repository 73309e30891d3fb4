"""Small truths in the formats in which the real sets come, for tests."""

import json

VOC_OBJECT = """
  <object>
    <name>{name}</name>
    <pose>Unspecified</pose>
    <truncated>0</truncated>
    <difficult>{difficult}</difficult>
    <bndbox><xmin>{box[0]}</xmin><ymin>{box[1]}</ymin><xmax>{box[2]}</xmax><ymax>{box[3]}</ymax></bndbox>
    {parts}
  </object>"""

VOC_IMAGE = """<annotation>
  <folder>VOC2012</folder>
  <filename>{id}.jpg</filename>
  <source><database>The VOC2008 Database</database><annotation>PASCAL VOC2008</annotation></source>
  <size><width>500</width><height>375</height><depth>3</depth></size>
  <segmented>0</segmented>{objects}
</annotation>
"""

#: A person's head is a part of the object, not an object.
VOC_PART = (
    "<part><name>head</name>"
    "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></part>"
)


def voc_object(name, *, difficult=0, box=(1, 1, 100, 50), parts=""):
    return VOC_OBJECT.format(name=name, difficult=difficult, box=box, parts=parts)


def write_voc(root, images):
    """`Annotations`: image id -> its objects, each as `voc_object` gives it."""
    folder = root / "Annotations"
    folder.mkdir(parents=True)
    for id, objects in images.items():
        text = VOC_IMAGE.format(id=id, objects="".join(objects))
        (folder / f"{id}.xml").write_text(text)


def write_lists(root, lists):
    """`ImageSets/Main`: name of a list -> its lines."""
    folder = root / "ImageSets" / "Main"
    folder.mkdir(parents=True)
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))


def coco(*, images=None, annotations=None, categories=None, **more):
    """An instances file as COCO 2014 has it, in that order of its keys."""
    return {
        "info": {"year": 2014, "contributor": "COCO Consortium"},
        "images": images or [coco_image(42)],
        "licenses": [{"id": 1, "name": "Attribution License"}],
        "annotations": annotations if annotations is not None else [coco_annotation(42, 1)],
        "categories": categories or COCO_CATEGORIES,
        **more,
    }


#: As there, the ids have gaps.
COCO_CATEGORIES = [
    {"supercategory": "person", "id": 1, "name": "person"},
    {"supercategory": "vehicle", "id": 2, "name": "bicycle"},
    {"supercategory": "furniture", "id": 67, "name": "dining table"},
]


def coco_image(id):
    return {
        "license": 1,
        "file_name": f"COCO_val2014_{id:012d}.jpg",
        "height": 478,
        "width": 640,
        "id": id,
    }


def coco_annotation(image_id, category_id, **fields):
    return {
        "segmentation": [[382.48, 268.63, 330.24, 229.41, 330.24, 300.1]],
        "area": 100.5,
        "iscrowd": 0,
        "image_id": image_id,
        "bbox": [10.5, 20.0, 30.0, 40.25],
        "category_id": category_id,
        "id": 156,
        **fields,
    }


def write_coco(path, content):
    path.write_text(json.dumps(content))
    return path


NUS_IMAGES = {
    "train": [r"actor\0001_2124494179.jpg", r"zoo\0002_174174086.jpg"],
    "test": [r"administrative_assistant\0003_534152430.jpg"],
}


def nus_concepts(count=81):
    """As many concepts as NUS-WIDE has, `animal` and `sky` among them."""
    return ["animal", "sky", *(f"concept{i}" for i in range(count - 2))]


def write_nus_wide(
    root, *, concepts=None, splits=("", "train", "test"), positives=None, images_of=None
):
    """The list files of NUS-WIDE; `positives` maps a concept to images.

    `images_of` has the images of `train` and `test`, `NUS_IMAGES` unless given.
    """
    concepts, positives = concepts or nus_concepts(), positives or {}
    images_of = images_of or NUS_IMAGES
    every = [*images_of["train"], *images_of["test"]]
    for folder in ("ImageList", "ConceptsList", "Groundtruth/AllLabels"):
        (root / folder).mkdir(parents=True)
    (root / "Groundtruth" / "TrainTestLabels").mkdir()
    (root / "ConceptsList" / "Concepts81.txt").write_text("\n".join(concepts) + "\n")
    for split in splits:
        images = images_of[split] if split else every
        name, tail = split.capitalize(), f"_{split.capitalize()}" if split else ""
        list_name = f"{name}Imagelist.txt" if split else "Imagelist.txt"
        (root / "ImageList" / list_name).write_text("\r\n".join(images) + "\r\n")
        folder = root / "Groundtruth" / ("TrainTestLabels" if split else "AllLabels")
        for concept in concepts:
            rows = [int(image in positives.get(concept, ())) for image in images]
            text = "".join(f"{row}\n" for row in rows)
            (folder / f"Labels_{concept}{tail}.txt").write_text(text)
    return root


def labels(truth):
    """The labels of every image."""
    return {path: set(image.labels) for path, image in truth.images.items()}

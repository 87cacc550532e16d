"""What is wrong with a data set, by kind and told once: how often, three examples, and the fix."""

from collections import Counter, defaultdict

from contrastmask.errors import DataError

EXAMPLES = 3
IMAGES_DIR = "give train_images_dir, train_annotations, val_images_dir and val_annotations in the scale's dataset"

#: Kind: what is wrong, and the fix; in the order of what to mend first.
KINDS = {
    "list": ("not COCO's lists", 'a COCO file holds {"images": [...], "annotations": [...], "categories": [...]}'),
    "field": ("fields missing or of the wrong type", "correct them, or export again with another tool"),
    "twice": ("ids or names that occur more than once in one file", "give each its own (train and val may share ids)"),
    "listed": (
        "images listed more than once in one file",
        "keep one entry of each, and give all its annotations that image_id",
    ),
    "empty": ("files without images, annotations or categories", "add some"),
    "categories": (
        "categories of val's objects that train does not list",
        "correct the name, or add the category to train's list",
    ),
    "named": ("names in boxes_only that are no category", "use the names in the annotation files"),
    "shared": (
        "images in both train and val",
        "remove each from one of them: evaluation would measure what was learned",
    ),
    "image_id": ("annotations of images that the file does not list", "remove the annotation or add the image"),
    "category_id": ("annotations of categories that the file does not list", "correct the id or add the category"),
    "beside": ("images that lie beside the annotation file, not in the images' folder", IMAGES_DIR),
    "prefix": (
        "images whose file_name repeats the name of their folder",
        f"take the folder out of file_name, or {IMAGES_DIR}, with the folder above as images_dir",
    ),
    "ending": (
        "image files missing, while there are files of these names with another ending",
        "correct file_name, or rename the files",
    ),
    "missing": ("image files missing", "check data_root, or fetch the images again"),
    "huge": ("images of more than 178 megapixels", "cut them into tiles, which their objects are large in"),
    "thin": ("images of which the model's size leaves less than a pixel", "crop them"),
    "format": ("images of a format that is not read here", "save them as JPEG or PNG"),
    "unreadable": ("image files that are damaged or no images", "fetch or export them again"),
    "depth": ("images of a depth that has no agreed range of brightness", "save them with 8 or 16 bits a channel"),
    "size": (
        "images of another size than recorded",
        "correct width and height in the file, or put the right image back",
    ),
    "orientation": (
        "annotated images that Exif turns to the same size, so that nobody can tell which way was annotated",
        "save them upright (`mogrify -auto-orient`) if the annotation tool showed them so; else remove the tag "
        "(`exiftool -Orientation= FILE`)",
    ),
    "crowd": ("iscrowd that is not 0 or 1", "set 0 for a single object"),
    "bbox": ("boxes that are not four finite numbers", "a bbox is [x, y, width, height] in pixels; area is one number"),
    "boxes": (
        "files whose boxes are not [x, y, width, height] in pixels",
        "x, y is the upper left corner; convert them, or export with another tool",
    ),
    "negative": ("boxes or areas below zero", "a bbox is [x, y, width, height], not two corners"),
    "outside": ("boxes outside their image", "correct or remove the annotation"),
    "mask": ("segmentations that are neither polygons nor RLE", "write [[x, y, x, y, ...], ...], RLE, or [] for none"),
    "far": ("segmentations far outside their image", "correct or remove the annotation; are they of a resized image?"),
    "points": (
        "segmentations without a polygon of 3 or more points",
        "mend them or remove the annotation; [] is for categories that have boxes only",
    ),
    "polygon": (
        "polygons with fewer than 3 points beside valid ones in val",
        "remove them: evaluation cannot read them",
    ),
    "rle": ("RLE that does not fit its image", "export it again for the image's size [height, width]"),
    "maskless": ("objects of val without segmentation", "evaluation measures masks: add it or remove the annotation"),
    "mixed": (
        "categories of val with masks on some of their objects only",
        "evaluation needs all of them or none: add the missing ones, or take them for boxes: `contrastmask init FOLDER "
        "--boxes-only NAME` (their mask AP is not measured)",
    ),
}


class Problems:
    """Gathers problems and warnings; `check` raises what was gathered."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.examples: defaultdict[str, list[str]] = defaultdict(list)
        self.warnings: Counter[str] = Counter()

    def add(self, kind: str, example: str) -> None:
        """One more of KINDS; `example` names file and value."""
        self.counts[kind] += 1
        if len(self.examples[kind]) < EXAMPLES:
            self.examples[kind].append(example)

    def warn(self, text: str, count: int = 1) -> None:
        """`count` more of what is worth knowing and stops nothing; `text` follows the number."""
        self.warnings[text] += count

    def check(self, title: str) -> None:
        """Raise one DataError with all problems, or return if there are none."""
        if not self.counts:
            return
        total, kinds = self.counts.total(), len(self.counts)
        words = f"{total} problem{'s' * (total > 1)}" + (f" of {kinds} kinds, the first to mend first" * (kinds > 1))
        lines = [f"{title}: {words}"]
        for kind, (what, fix) in KINDS.items():
            if count := self.counts[kind]:
                lines.append(f"  {count} {what}: {fix}")
                lines += [f"    - {example}" for example in self.examples[kind]]
                if count > EXAMPLES:
                    lines.append(f"    ... and {count - EXAMPLES} more")
        raise DataError("\n".join(lines))

"""The classes of COCO, for detectors that were trained on it."""

from __future__ import annotations

COCO_OUTPUTS = 90
# By their numbers from 1 on, as in instances_train2017.json; - where the data set has no class of a number.
_NAMES = (
    "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,-,stop sign,parking meter,"
    "bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,-,backpack,umbrella,-,-,handbag,tie,suitcase,"
    "frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,tennis racket,bottle,-,"
    "wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,chair,"
    "couch,potted plant,bed,-,dining table,-,-,toilet,-,tv,laptop,mouse,remote,keyboard,cell phone,microwave,oven,"
    "toaster,sink,refrigerator,-,book,clock,vase,scissors,teddy bear,hair drier,toothbrush"
)


def coco_classes() -> tuple[str, ...]:
    """Return the 90 names in order, 80 of them classes and the others ``unused 12`` and the like."""
    return tuple(f"unused {number}" if name == "-" else name for number, name in enumerate(_NAMES.split(","), start=1))

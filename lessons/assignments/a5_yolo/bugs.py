"""Mistakes that students make in A5, planted in the solution one at a time."""

from minidl.teach.assign import Bug

BUGS = [
    # -- 1. boxes
    Bug(
        "to_corners moves by the whole size",
        cause="whole size instead of half",
        old="centre, half = boxes[..., :2], boxes[..., 2:] / 2",
        new="centre, half = boxes[..., :2], boxes[..., 2:]",
    ),
    Bug(
        "to_corners starts at the centre",
        cause="whole size instead of half",
        old="return np.concatenate([centre - half, centre + half], axis=-1)",
        new="return np.concatenate([centre, centre + 2 * half], axis=-1)",
    ),
    Bug(
        "to_centres adds both edges without halving",
        cause="centre not halved",
        old="[(low + high) / 2, high - low]",
        new="[low + high, high - low]",
    ),
    Bug(
        "to_centres counts the last pixel",
        cause="off-by-one box size",
        old="[(low + high) / 2, high - low]",
        new="[(low + high) / 2, high - low + 1]",
    ),
    Bug(
        "the intersection's sides are not clamped",
        cause="IoU without clamp",
        old="sides = np.maximum(high - low, 0.0)",
        new="sides = high - low",
    ),
    Bug(
        "the product of the sides is clamped, not the sides",
        cause="clamp after the product",
        old="""    sides = np.maximum(high - low, 0.0)
    intersection = sides[..., 0] * sides[..., 1]
""",
        new="""    sides = high - low
    intersection = np.maximum(sides[..., 0] * sides[..., 1], 0.0)
""",
    ),
    Bug(
        "the first box's area counts its last pixels",
        cause="off-by-one box area",
        old="area = (first[..., 2] - first[..., 0]) * (first[..., 3] - first[..., 1])\n"
        "    other = (second[..., 2] - second[..., 0]) * (second[..., 3] - second[..., 1])",
        new="area = (first[..., 2] - first[..., 0] + 1) * (first[..., 3] - first[..., 1] + 1)\n"
        "    other = (second[..., 2] - second[..., 0] + 1) * (second[..., 3] - second[..., 1] + 1)",
    ),
    Bug(
        "the intersection counts its last pixels",
        cause="off-by-one box area",
        old="sides = np.maximum(high - low, 0.0)",
        new="sides = np.maximum(high - low + 1, 0.0)",
    ),
    Bug(
        "the union is the sum of both areas",
        cause="intersection counted twice",
        old="union = area + other - intersection",
        new="union = area + other",
    ),
    Bug(
        "the smaller box instead of the union",
        cause="divided by one box instead of the union",
        old="union = area + other - intersection",
        new="union = np.minimum(area, other)",
    ),
    Bug(
        "a small number in the denominator",
        cause="a number added to the denominator",
        old="return intersection / np.where(union > 0, union, 1.0)",
        new="return intersection / (union + 1e-6)",
    ),
    Bug(
        "0 / 0 for two empty boxes",
        cause="0 / 0",
        old="return intersection / np.where(union > 0, union, 1.0)",
        new="return intersection / union",
    ),
    Bug(
        "width from neighbouring columns",
        cause="x and y mixed",
        old="area = (first[..., 2] - first[..., 0]) * (first[..., 3] - first[..., 1])\n"
        "    other = (second[..., 2] - second[..., 0]) * (second[..., 3] - second[..., 1])",
        new="area = (first[..., 1] - first[..., 0]) * (first[..., 3] - first[..., 2])\n"
        "    other = (second[..., 1] - second[..., 0]) * (second[..., 3] - second[..., 2])",
    ),
    # -- 2. targets
    Bug(
        "owner_cells gives column and row",
        cause="row and column swapped",
        old="cells = np.floor(centres[:, ::-1] * grid / np.array([height, width]))",
        new="cells = np.floor(centres * grid / np.array([width, height]))",
    ),
    Bug(
        "owner_cells takes image_size for (W, H)",
        cause="H and W swapped",
        old="    height, width = image_size\n    centres =",
        new="    width, height = image_size\n    centres =",
    ),
    Bug(
        "owner_cells rounds",
        cause="rounded instead of cut off",
        old="cells = np.floor(centres",
        new="cells = np.round(centres",
    ),
    Bug(
        "a cell S at the image's right edge",
        cause="off-by-one at the image's edge",
        old="return np.minimum(cells, grid - 1).astype(np.int64)",
        new="return cells.astype(np.int64)",
    ),
    Bug(
        "a border belongs to the left cell",
        cause="border given to the left cell",
        old="""    cells = np.floor(centres[:, ::-1] * grid / np.array([height, width]))
    return np.minimum(cells, grid - 1).astype(np.int64)
""",
        new="""    cells = np.ceil(centres[:, ::-1] * grid / np.array([height, width])) - 1
    return np.clip(cells, 0, grid - 1).astype(np.int64)
""",
    ),
    Bug(
        "the upper left corner's cell owns the box",
        cause="corner instead of centre",
        old="centres = to_centres(boxes)[:, :2]",
        new="centres = boxes[:, :2]",
    ),
    Bug(
        "of objects that share a cell the last one stays",
        cause="last object of a cell instead of the first",
        old="""        if has_object[row, column]:
            continue
""",
        new="""        classes[row, column] = 0.0
""",
    ),
    Bug(
        "the classes of all objects that share a cell",
        cause="two objects in one cell",
        old="""        if has_object[row, column]:
            continue
""",
        new="""        if has_object[row, column]:
            classes[row, column, label] = 1.0
            continue
""",
    ),
    Bug(
        "targets written to [column, row]",
        cause="row and column swapped",
        old="for (cx, cy, w, h), label, (row, column) in zip(to_centres(boxes), labels, cells, "
        "strict=True):\n        if has_object[row, column]:\n            continue\n"
        "        has_object[row, column] = True\n        target[row, column] = (",
        new="for (cx, cy, w, h), label, (row, column) in zip(to_centres(boxes), labels, cells, "
        "strict=True):\n        if has_object[column, row]:\n            continue\n"
        "        has_object[column, row] = True\n        target[column, row] = (",
    ),
    Bug(
        "the cell's place is not subtracted",
        cause="centre not measured from the cell's corner",
        old="""            cx * grid / width - column,
            cy * grid / height - row,
""",
        new="""            cx * grid / width,
            cy * grid / height,
""",
    ),
    Bug(
        "centres from the middle of the cell",
        cause="centre not measured from the cell's corner",
        old="""            cx * grid / width - column,
            cy * grid / height - row,
""",
        new="""            cx * grid / width - column - 0.5,
            cy * grid / height - row - 0.5,
""",
    ),
    Bug(
        "centres in pixels from the cell's corner",
        cause="centre not measured in cells",
        old="""            cx * grid / width - column,
            cy * grid / height - row,
""",
        new="""            cx - column * width / grid,
            cy - row * height / grid,
""",
    ),
    Bug(
        "sizes instead of their roots",
        cause="no square root",
        old="""            np.sqrt(w / width),
            np.sqrt(h / height),
""",
        new="""            w / width,
            h / height,
""",
    ),
    Bug(
        "sizes in cells",
        cause="size not as a fraction of the image",
        old="""            np.sqrt(w / width),
            np.sqrt(h / height),
""",
        new="""            np.sqrt(w * grid / width),
            np.sqrt(h * grid / height),
""",
    ),
    Bug(
        "width divided by H",
        cause="H and W swapped",
        old="""            np.sqrt(w / width),
            np.sqrt(h / height),
""",
        new="""            np.sqrt(w / height),
            np.sqrt(h / width),
""",
    ),
    Bug(
        "class 0 kept for the background",
        cause="labels counted from 1",
        old="classes[row, column, label] = 1.0",
        new="classes[row, column, (label + 1) % num_classes] = 1.0",
    ),
    # -- 3. the responsible predictor
    Bug(
        "overlap of boxes whose sides are roots",
        cause="roots not squared",
        old="coded[..., 2:] ** 2], axis=-1))",
        new="coded[..., 2:]], axis=-1))",
    ),
    Bug(
        "centres in cells and sizes in images",
        cause="centre and size in different units",
        old="[coded[..., :2] / grid, coded[..., 2:] ** 2]",
        new="[coded[..., :2], coded[..., 2:] ** 2]",
    ),
    Bug(
        "of equal overlaps the last predictor",
        cause="last of equal overlaps",
        old="best = iou.argmax(axis=-1)",
        new="best = iou.shape[-1] - 1 - iou[..., ::-1].argmax(axis=-1)",
    ),
    Bug(
        "all predictors of the largest overlap",
        cause="all of equal overlaps",
        old="return (best[..., None] == np.arange(iou.shape[-1])) & has_object[..., None]",
        new="return (iou == iou.max(axis=-1, keepdims=True)) & has_object[..., None]",
    ),
    Bug(
        "somebody responsible in every cell",
        cause="a predictor in cells without object",
        old="return (best[..., None] == np.arange(iou.shape[-1])) & has_object[..., None]",
        new="return best[..., None] == np.arange(iou.shape[-1])",
    ),
    Bug(
        "nobody responsible where no box overlaps",
        cause="nobody where nothing overlaps",
        old="np.arange(iou.shape[-1])) & has_object[..., None]",
        new="np.arange(iou.shape[-1])) & has_object[..., None] & (iou > 0)",
    ),
    # -- 4. the loss
    Bug(
        "confidences behind all boxes",
        cause="confidences taken from behind all boxes",
        old="""    each = predictions[..., :end].reshape(*predictions.shape[:-1], num_boxes, 5)
    return each[..., :4], each[..., 4], predictions[..., end:]
""",
        new="""    boxes = predictions[..., : 4 * num_boxes]
    boxes = boxes.reshape(*predictions.shape[:-1], num_boxes, 4)
    return boxes, predictions[..., 4 * num_boxes : end], predictions[..., end:]
""",
    ),
    Bug(
        "the box loss of all predictors of the cell",
        cause="every predictor of the cell",
        old="square = (boxes - target[..., None, :]) ** 2 * mask[..., None]",
        new="square = (boxes - target[..., None, :]) ** 2 * has_object[..., None, None]",
    ),
    Bug(
        "lambda_coord only before the centre",
        cause="weight forgotten",
        old="float(square[..., 2:].sum() * lambda_coord * share)",
        new="float(square[..., 2:].sum() * share)",
    ),
    Bug(
        "squares of the roots compared",
        cause="sizes compared instead of their roots",
        old="""    return {
        "centre": float(""",
        new="""    sizes = boxes[..., 2:] ** 2 - target[..., None, 2:] ** 2
    square = np.concatenate([square[..., :2], sizes**2 * mask[..., None]], axis=-1)
    return {
        "centre": float(""",
    ),
    Bug(
        "confidence compared with 1",
        cause="confidence target 1 instead of IoU",
        old="float(((confidence - iou) ** 2 * mask).sum() * share)",
        new="float(((confidence - 1.0) ** 2 * mask).sum() * share)",
    ),
    Bug(
        "no_object only in empty cells",
        cause="others of a cell with an object left out",
        old="float((confidence**2 * ~mask).sum() * lambda_noobj * share)",
        new="float((confidence**2 * ~has_object[..., None]).sum() * lambda_noobj * share)",
    ),
    Bug(
        "no_object for everybody",
        cause="all predictors say no object",
        old="float((confidence**2 * ~mask).sum() * lambda_noobj * share)",
        new="float((confidence**2).sum() * lambda_noobj * share)",
    ),
    Bug(
        "lambda_noobj forgotten",
        cause="weight forgotten",
        old="float((confidence**2 * ~mask).sum() * lambda_noobj * share)",
        new="float((confidence**2 * ~mask).sum() * share)",
    ),
    Bug(
        "lambda_coord written as 5",
        cause="default weight instead of the argument",
        old="float(square[..., :2].sum() * lambda_coord * share)",
        new="float(square[..., :2].sum() * 5.0 * share)",
    ),
    Bug(
        "class loss in all cells",
        cause="classes of cells without object",
        old="float(((scores - classes) ** 2 * has_object[..., None]).sum() * share)",
        new="float(((scores - classes) ** 2).sum() * share)",
    ),
    Bug(
        "class loss once for each predictor",
        cause="once for each predictor",
        old="float(((scores - classes) ** 2 * has_object[..., None]).sum() * share)",
        new="float(\n            ((scores - classes) ** 2 * has_object[..., None]).sum() * share "
        "* mask.shape[-1]\n        )",
    ),
    Bug(
        "loss divided by the number of cells",
        cause="N against N*S*S",
        old="share = 1.0 / len(boxes)",
        new="share = 1.0 / has_object.size",
    ),
    Bug(
        "loss not divided by N",
        cause="sum instead of the mean over images",
        old="share = 1.0 / len(boxes)",
        new="share = 1.0",
    ),
    Bug(
        "the 2 of the derivative forgotten",
        cause="factor 2 forgotten",
        old="twice = 2.0 / len(boxes)",
        new="twice = 1.0 / len(boxes)",
    ),
    Bug(
        "gradient not divided by N",
        cause="sum instead of the mean over images",
        old="twice = 2.0 / len(boxes)",
        new="twice = 2.0",
    ),
    Bug(
        "box gradient of the wrong sign",
        cause="target minus prediction",
        old="twice * lambda_coord * (boxes - target[..., None, :]) * mask[..., None]",
        new="twice * lambda_coord * (target[..., None, :] - boxes) * mask[..., None]",
    ),
    Bug(
        "box gradient to all predictors of the cell",
        cause="every predictor of the cell",
        old="(boxes - target[..., None, :]) * mask[..., None]\n    grad_confidence",
        new="(boxes - target[..., None, :]) * has_object[..., None, None]\n    grad_confidence",
    ),
    Bug(
        "root differentiated once more",
        cause="root differentiated once more",
        old="    grad_confidence = twice",
        new="    grad_boxes[..., 2:] *= 2 * boxes[..., 2:]\n    grad_confidence = twice",
    ),
    Bug(
        "confidence gradient only to the responsible",
        cause="no gradient from no_object",
        old="np.where(mask, confidence - iou, lambda_noobj * confidence)",
        new="(confidence - iou) * mask",
    ),
    Bug(
        "lambda_noobj forgotten in the gradient",
        cause="weight forgotten",
        old="np.where(mask, confidence - iou, lambda_noobj * confidence)",
        new="np.where(mask, confidence - iou, confidence)",
    ),
    Bug(
        "class gradient in all cells",
        cause="classes of cells without object",
        old="twice * (scores - classes) * has_object[..., None]",
        new="twice * (scores - classes)",
    ),
    Bug(
        "yolo_loss does not pass its weights on",
        cause="default weight instead of the argument",
        old="""    grad_boxes, grad_confidence, grad_scores = loss_gradients(
        *arguments, lambda_coord, lambda_noobj
    )
""",
        new="    grad_boxes, grad_confidence, grad_scores = loss_gradients(*arguments)\n",
    ),
    Bug(
        "gradient put together in another layout",
        cause="gradient not in the layout of the predictions",
        old="""    each = np.concatenate([grad_boxes, grad_confidence[..., None]], axis=-1)
    cells = predictions.shape[:3]
    return loss, np.concatenate([each.reshape(*cells, 5 * num_boxes), grad_scores], axis=-1)
""",
        new="""    cells = predictions.shape[:3]
    grad_boxes = grad_boxes.reshape(*cells, -1)
    return loss, np.concatenate([grad_boxes, grad_confidence, grad_scores], axis=-1)
""",
    ),
    Bug(
        "yolo_loss cuts its input's confidences in place",
        cause="input changed in place",
        old="    iou = predictor_iou(boxes, target, predictions.shape[1])\n",
        new="    iou = predictor_iou(boxes, target, predictions.shape[1])\n"
        "    confidence[...] = np.clip(confidence, 0.0, 1.0)\n",
    ),
    # -- 5. detections
    Bug(
        "decode forgets the cell's place",
        cause="the cell's place not added",
        old="""            (column + boxes[..., 0]) * width / grid,
            (row + boxes[..., 1]) * height / grid,
""",
        new="""            boxes[..., 0] * width / grid,
            boxes[..., 1] * height / grid,
""",
    ),
    Bug(
        "decode adds the row to x",
        cause="row and column swapped",
        old="row, column = np.indices((grid, grid))[..., None]",
        new="column, row = np.indices((grid, grid))[..., None]",
    ),
    Bug(
        "decode takes image_size for (W, H)",
        cause="H and W swapped",
        old="    height, width = image_size\n    grid, _, count",
        new="    width, height = image_size\n    grid, _, count",
    ),
    Bug(
        "decode does not square the roots",
        cause="roots not squared",
        old="""            boxes[..., 2] ** 2 * width,
            boxes[..., 3] ** 2 * height,
""",
        new="""            boxes[..., 2] * width,
            boxes[..., 3] * height,
""",
    ),
    Bug(
        "decode leaves boxes out of the image",
        cause="not cut off at the edges of the image",
        old="np.clip(to_corners(pixels), 0.0, [width, height, width, height])",
        new="to_corners(pixels)",
    ),
    Bug(
        "two negative numbers make a sure detection",
        cause="scores not cut to 0 to 1",
        old="np.clip(confidence, 0.0, 1.0)[..., None] * np.clip(scores, 0.0, 1.0)[:, :, None]",
        new="np.clip(confidence[..., None] * scores[:, :, None], 0.0, 1.0)",
    ),
    Bug(
        "the class score is the detection's score",
        cause="class score without confidence",
        old="sure = np.clip(confidence, 0.0, 1.0)[..., None] * np.clip(",
        new="sure = np.ones((*confidence.shape, 1)) * np.clip(",
    ),
    Bug(
        "nms removes at equality",
        cause="removed at equality",
        old="order = order[iou[best, order] <= threshold]",
        new="order = order[iou[best, order] < threshold]",
    ),
    Bug(
        "boxes that were removed go on removing",
        cause="removed by boxes that are removed themselves",
        old="""    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[iou[best, order] <= threshold]
    return np.array(kept, np.int64)
""",
        new="""    kept = []
    for k, best in enumerate(order):
        if (iou[best, order[:k]] <= threshold).all():
            kept.append(best)
    return np.array(kept, np.int64)
""",
    ),
    Bug(
        "nms begins with the lowest score",
        cause="lowest score first",
        old="""    order = np.argsort(-scores, kind="stable")
    kept = []
""",
        new="""    order = np.argsort(scores, kind="stable")
    kept = []
""",
    ),
    Bug(
        "nms reverses ties",
        cause="tie of scores",
        old="""    order = np.argsort(-scores, kind="stable")
    kept = []
""",
        new="""    order = np.argsort(scores, kind="stable")[::-1]
    kept = []
""",
    ),
    Bug(
        "nms gives rising indices",
        cause="not by falling score",
        old="return np.array(kept, np.int64)",
        new="return np.sort(np.array(kept, np.int64))",
    ),
    Bug(
        "detect suppresses across classes",
        cause="suppression across classes",
        old="""    index, label = [], []
    for c in range(scores.shape[1]):
""",
        new="""    best = nms(box_iou(boxes[:, None], boxes), scores.max(axis=1), iou_threshold)
    scores = np.where(np.isin(np.arange(len(boxes)), best)[:, None], scores, -1.0)
    index, label = [], []
    for c in range(scores.shape[1]):
""",
    ),
    Bug(
        "detect keeps a score equal to the threshold",
        cause="score equal to the threshold kept",
        old="np.flatnonzero(scores[:, c] > score_threshold)",
        new="np.flatnonzero(scores[:, c] >= score_threshold)",
    ),
    Bug(
        "detect looks at the best class of a box only",
        cause="only the best class of a box",
        old="np.flatnonzero(scores[:, c] > score_threshold)",
        new="np.flatnonzero((scores[:, c] > score_threshold) & (scores.argmax(axis=1) == c))",
    ),
    # -- 6. average precision
    Bug(
        "match lets an object be found again",
        cause="an object found more than once",
        old="""            true[d] = True
            free[:, best] = -1.0
""",
        new="""            true[d] = True
""",
    ),
    Bug(
        "match in the order of the input",
        cause="input order instead of falling score",
        old="""    for d in np.argsort(-scores, kind="stable"):
""",
        new="""    for d in range(len(scores)):
""",
    ),
    Bug(
        "match asks for more than the threshold",
        cause="false at equality",
        old="if free[d, best] >= threshold:",
        new="if free[d, best] > threshold:",
    ),
    Bug(
        "match looks at objects that are taken",
        cause="objects that are taken not passed over",
        old="""        best = free[d].argmax()
        if free[d, best] >= threshold:
""",
        new="""        best = iou[d].argmax()
        if free[d, best] >= threshold:
""",
    ),
    Bug(
        "match takes the first object that overlaps enough",
        cause="first object that overlaps enough",
        old="best = free[d].argmax()",
        new="best = (free[d] >= threshold).argmax()",
    ),
    Bug(
        "match answers in the order of the scores",
        cause="result in the order of the scores",
        old="""            free[:, best] = -1.0
    return true
""",
        new="""            free[:, best] = -1.0
    return true[np.argsort(-scores, kind="stable")]
""",
    ),
    Bug(
        "precision and recall of unsorted detections",
        cause="not by falling score",
        old='found = np.cumsum(true[np.argsort(-scores, kind="stable")])',
        new="found = np.cumsum(true)",
    ),
    Bug(
        "recall of those found",
        cause="recall of the objects found instead of all",
        old="return found / np.arange(1, len(found) + 1), found / num_objects",
        new="return found / np.arange(1, len(found) + 1), found / max(true.sum(), 1)",
    ),
    Bug(
        "precision from rank 0",
        cause="off-by-one rank",
        old="return found / np.arange(1, len(found) + 1), found / num_objects",
        new="return found / np.maximum(np.arange(len(found)), 1), found / num_objects",
    ),
    Bug(
        "ten recalls",
        cause="ten recalls instead of eleven",
        old="for t in np.linspace(0.0, 1.0, 11)]",
        new="for t in np.arange(0.0, 1.0, 0.1)]",
    ),
    Bug(
        "precision where the recall is just reached",
        cause="precision not the best at this recall or more",
        old="best = [precision[recall >= t].max(initial=0.0) for t",
        new="best = [np.append(precision[recall >= t], 0.0)[0] for t",
    ),
    Bug(
        "recalls that were not reached are left out",
        cause="recalls that were not reached left out",
        old="return float(np.mean(best))",
        new="return float(np.mean([b for b in best if b > 0])) if max(best) > 0 else 0.0",
    ),
    Bug(
        "area under the saw",
        cause="precision not interpolated",
        old="best = np.maximum.accumulate(precision[::-1])[::-1]",
        new="best = precision",
    ),
    Bug(
        "maximum over the ranks before",
        cause="interpolated from the wrong side",
        old="best = np.maximum.accumulate(precision[::-1])[::-1]",
        new="best = np.maximum.accumulate(precision)",
    ),
    Bug(
        "trapezoids from hit to hit",
        cause="trapezoids instead of steps",
        old="return float((np.diff(recall, prepend=0.0) * best).sum())",
        new="rise = np.diff(recall, prepend=0.0) > 0\n"
        "    height = np.append(best[:1], best[rise])\n"
        "    return float(np.trapezoid(height, np.append(0.0, recall[rise])))",
    ),
    Bug(
        "the first step of recall forgotten",
        cause="first step forgotten",
        old="return float((np.diff(recall, prepend=0.0) * best).sum())",
        new="return float((np.diff(recall) * best[1:]).sum())",
    ),
    Bug(
        "a class without objects has AP 0",
        cause="class without objects counted",
        old="aps = np.full(num_classes, np.nan)",
        new="aps = np.zeros(num_classes)",
    ),
    Bug(
        "a class without detections is left out",
        cause="class without detections left out",
        old="        if num_objects:\n",
        new="        if num_objects and len(np.concatenate(scores)):\n",
    ),
    Bug(
        "detections find objects of other images",
        cause="detections compared with objects of other images",
        old="            true.append(match(box_iou(boxes[own][:, None], wanted), scores[-1], "
        "iou_threshold))\n",
        new="""            true.append(boxes[own])
        places = np.concatenate([there[kinds == c] for there, kinds in truths])
        table = box_iou(np.concatenate(true)[:, None], places)
        true = [match(table, np.concatenate(scores), iou_threshold)]
""",
    ),
    Bug(
        "images without objects are passed over",
        cause="detections in images without objects left out",
        old="            own, wanted = labels == c, objects[kinds == c]\n",
        new="            own, wanted = labels == c, objects[kinds == c]\n"
        "            if len(wanted) == 0:\n                continue\n",
    ),
    Bug(
        "the class of the object does not matter",
        cause="detections compared with objects of other classes",
        old="match(box_iou(boxes[own][:, None], wanted), scores[-1]",
        new="match(box_iou(boxes[own][:, None], objects), scores[-1]",
    ),
    # -- 7. training
    Bug(
        "weight gradient is a mean over cells",
        cause="mean instead of sum",
        old="return features.reshape(len(flat), -1).T @ flat, flat.sum(axis=0)",
        new="return features.reshape(len(flat), -1).T @ flat / len(flat), flat.sum(axis=0)",
    ),
    Bug(
        "bias gradient not summed over the batch",
        cause="forgotten sum over the batch",
        old="return features.reshape(len(flat), -1).T @ flat, flat.sum(axis=0)",
        new="return features.reshape(len(flat), -1).T @ flat, gradient.sum(axis=(1, 2))",
    ),
    Bug(
        "training goes uphill",
        cause="uphill",
        old="""        weight = weight - learning_rate * grad_weight
        bias = bias - learning_rate * grad_bias
""",
        new="""        weight = weight + learning_rate * grad_weight
        bias = bias + learning_rate * grad_bias
""",
    ),
    Bug(
        "training writes into the weight it was given",
        cause="input changed in place",
        old="        weight = weight - learning_rate * grad_weight\n",
        new="        weight -= learning_rate * grad_weight\n",
    ),
    Bug(
        "the bias is not trained",
        cause="bias not learned",
        old="        bias = bias - learning_rate * grad_bias\n",
        new="",
    ),
    Bug(
        "the loss is recorded after the step",
        cause="loss after the step",
        old="""        bias = bias - learning_rate * grad_bias
""",
        new="""        bias = bias - learning_rate * grad_bias
        losses[step], _ = yolo_loss(
            head(features, weight, bias), num_boxes, has_object, target, classes
        )
""",
    ),
]

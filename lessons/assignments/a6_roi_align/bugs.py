"""Mistakes that students make in A6, planted in the solution one at a time."""

from minidl.teach.assign import Bug

BUGS = [
    # -- 1. boxes
    Bug(
        "the intersection's sides are not clamped",
        cause="IoU without clamp",
        old="np.maximum(high - low, 0.0).prod(axis=2)",
        new="(high - low).prod(axis=2)",
    ),
    Bug(
        "the union is the sum of both areas",
        cause="intersection counted twice",
        old="(area[:, None] + other - shared)",
        new="(area[:, None] + other)",
    ),
    Bug(
        "suppression by all surer boxes",
        cause="removed by boxes that are removed themselves",
        old="""    kept = []
    for i in np.argsort(-scores, kind="stable"):
        if not (iou[i, kept] > threshold).any():
            kept.append(i)
""",
        new="""    kept, order = [], np.argsort(-scores, kind="stable")
    for n, i in enumerate(order):
        if not (iou[i, order[:n]] > threshold).any():
            kept.append(i)
""",
    ),
    Bug(
        "an IoU equal to the threshold removes",
        cause="IoU equal to the threshold removes",
        old="(iou[i, kept] > threshold)",
        new="(iou[i, kept] >= threshold)",
    ),
    Bug(
        "equal scores in reversed order",
        cause="order of equal scores",
        old='for i in np.argsort(-scores, kind="stable"):',
        new='for i in np.argsort(scores, kind="stable")[::-1]:',
    ),
    Bug(
        "encode divides by the size of the box",
        cause="divided by the wrong box's size",
        old="(centre - centre_a) / size_a",
        new="(centre - centre_a) / size",
    ),
    Bug(
        "encode divides by the weights",
        cause="weights not applied",
        old="return moves * np.array(weights)",
        new="return moves / np.array(weights)",
    ),
    Bug(
        "encode takes corners for centres",
        cause="corner instead of centre",
        old="boxes[:, :2] + size / 2, anchors[:, :2] + size_a / 2",
        new="boxes[:, :2], anchors[:, :2]",
    ),
    Bug(
        "encode counts the last pixel",
        cause="off-by-one box size",
        old="boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]",
        new="boxes[:, 2:] - boxes[:, :2] + 1, anchors[:, 2:] - anchors[:, :2] + 1",
    ),
    Bug(
        "decode does not limit the log sizes",
        cause="log sizes not cut",
        old="np.exp(np.minimum(moves[..., 2:], LOG_LIMIT))",
        new="np.exp(moves[..., 2:])",
    ),
    Bug(
        "decode limits before it divides by the weights",
        cause="log sizes cut before the weights",
        old="""    moves = deltas / np.array(weights)
    centre = moves[..., :2] * size_a + centre_a
    half = np.exp(np.minimum(moves[..., 2:], LOG_LIMIT)) * size_a / 2
""",
        new="""    sizes = np.minimum(deltas[..., 2:], LOG_LIMIT)
    moves = np.concatenate([deltas[..., :2], sizes], axis=-1) / np.array(weights)
    centre = moves[..., :2] * size_a + centre_a
    half = np.exp(moves[..., 2:]) * size_a / 2
""",
    ),
    Bug(
        "decode limits the moves too",
        cause="too much cut",
        old="moves = deltas / np.array(weights)",
        new="moves = np.minimum(deltas / np.array(weights), LOG_LIMIT)",
    ),
    Bug(
        "decode forgets to halve",
        cause="size not halved",
        old="LOG_LIMIT)) * size_a / 2",
        new="LOG_LIMIT)) * size_a",
    ),
    Bug(
        "decode divides its argument in place",
        cause="input changed in place",
        old="moves = deltas / np.array(weights)",
        new="moves = deltas\n    moves /= np.array(weights)",
    ),
    # -- 2. anchors
    Bug(
        "ratio is width / height",
        cause="ratio is height / width",
        old="[np.array(sizes) / root, np.array(sizes) * root]",
        new="[np.array(sizes) * root, np.array(sizes) / root]",
    ),
    Bug(
        "no root of the ratio",
        cause="area depends on the ratio",
        old="root = np.sqrt(np.array(ratios, float))[:, None]",
        new="root = np.array(ratios, float)[:, None]",
    ),
    Bug(
        "anchors at the corner of a position",
        cause="centre not in the middle of the position",
        old="""    x = (np.arange(width) + 0.5) * stride
    y = (np.arange(height) + 0.5) * stride
""",
        new="""    x = np.arange(width) * stride
    y = np.arange(height) * stride
""",
    ),
    Bug(
        "size after size, of one size ratio after ratio",
        cause="another order of anchors",
        old="axis=-1).reshape(-1, 2)",
        new="axis=-1).swapaxes(0, 1).reshape(-1, 2)",
    ),
    Bug(
        "column by column",
        cause="another order of anchors",
        old="np.stack(np.meshgrid(x, y), axis=-1)[:, :, None]",
        new='np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1)[:, :, None]',
    ),
    Bug(
        "only above the high threshold",
        cause="IoU equal to high",
        old="np.where(best >= high, own, -2)",
        new="np.where(best > high, own, -2)",
    ),
    Bug(
        "background at the low threshold",
        cause="IoU equal to low",
        old="matches[best < low] = -1",
        new="matches[best <= low] = -1",
    ),
    Bug(
        "everything below high is background",
        cause="nothing left unsaid",
        old="np.where(best >= high, own, -2)",
        new="np.where(best >= high, own, -1)",
    ),
    Bug(
        "one of the best anchors of an object",
        cause="one of equally good anchors",
        old="wanted = ((iou == highest) & (iou > 0)).any(axis=0)",
        new="wanted = np.unique(iou.argmax(axis=1)[highest[:, 0] > 0])",
    ),
    Bug(
        "an object takes its best anchor from another",
        cause="object of keep_best instead of the anchor's own",
        old="""        wanted = ((iou == highest) & (iou > 0)).any(axis=0)
        matches[wanted] = own[wanted]
""",
        new="""        for g, a in np.argwhere((iou == highest) & (iou > 0)):
            matches[a] = g
""",
    ),
    Bug(
        "an object that overlaps nothing takes everything",
        cause="anchors that overlap nothing",
        old="((iou == highest) & (iou > 0)).any(axis=0)",
        new="(iou == highest).any(axis=0)",
    ),
    Bug(
        "keep_best forgotten",
        cause="an object left without an anchor",
        old="""    if keep_best:
        highest = iou.max(axis=1, keepdims=True)
        wanted = ((iou == highest) & (iou > 0)).any(axis=0)
        matches[wanted] = own[wanted]
""",
        new="",
    ),
    Bug(
        "anchors of the highest numbers",
        cause="highest numbers",
        old='np.argsort(numbers[candidates], kind="stable")',
        new='np.argsort(-numbers[candidates], kind="stable")',
    ),
    Bug(
        "anchors of which nothing is said are drawn",
        cause="-2 drawn as background",
        old="np.flatnonzero(matches == -1)",
        new="np.flatnonzero(matches < 0)",
    ),
    Bug(
        "missing positive anchors are not replaced",
        cause="missing positives not replaced",
        old="count - len(positive))",
        new="count - int(count * fraction))",
    ),
    Bug(
        "number of positive anchors rounded",
        cause="number of positives rounded otherwise",
        old="np.flatnonzero(matches >= 0), int(count * fraction))",
        new="np.flatnonzero(matches >= 0), round(count * fraction))",
    ),
    Bug(
        "numbers drawn for each kind",
        cause="numbers drawn otherwise",
        old="""    numbers = rng.random(len(matches))

    def draw(candidates, most):
        chosen = np.argsort(numbers[candidates], kind="stable")[:most]
""",
        new="""    def draw(candidates, most):
        chosen = np.argsort(rng.random(len(candidates)), kind="stable")[:most]
""",
    ),
    # -- 3. RoIPool
    Bug(
        "np.round takes the even neighbour",
        cause="halves rounded to even, or down",
        old="np.floor(roi[1:] * scale + 0.5)",
        new="np.round(roi[1:] * scale)",
    ),
    Bug(
        "corners cut off instead of rounded",
        cause="halves rounded to even, or down",
        old="np.floor(roi[1:] * scale + 0.5)",
        new="np.trunc(roi[1:] * scale)",
    ),
    Bug(
        "the second corner is left out",
        cause="second corner left out",
        old="step = (high - low + 1) / bins",
        new="step = max(high - low, 1) / bins",
    ),
    Bug(
        "a bin ends where the next one begins",
        cause="bins do not share rows and columns",
        old="stop = np.ceil(np.arange(1, bins + 1) * step) + low",
        new="stop = np.floor(np.arange(1, bins + 1) * step) + low",
    ),
    Bug(
        "empty bins are -inf",
        cause="empty bin is not 0",
        old="    out = np.zeros((len(rois), channels, *size))\n",
        new="    out = np.full((len(rois), channels, *size), -np.inf)\n",
    ),
    Bug(
        "RoIPool takes image 0",
        cause="image of the region ignored",
        old="window = x[int(roi[0]), :, top:bottom, left:right]",
        new="window = x[0, :, top:bottom, left:right]",
    ),
    Bug(
        "gradients of RoIPool are overwritten",
        cause="overwritten instead of added",
        old="np.add.at(grad_x, (images[k], c, places[k, c, i, j]), grad[k, c, i, j])",
        new="grad_x[images[k], c, places[k, c, i, j]] += grad[k, c, i, j]",
    ),
    Bug(
        "the last of equal elements gets the gradient",
        cause="last of equal elements",
        old="np.divmod(window.argmax(axis=1), right - left)",
        new="np.divmod(window.shape[1] - 1 - window[:, ::-1].argmax(axis=1), right - left)",
    ),
    # -- 4. interpolation
    Bug(
        "points far outside are clipped to the border",
        cause="points far outside count as the border",
        old="return (upper * (1 - dy) + lower * dy) * inside",
        new="return upper * (1 - dy) + lower * dy",
    ),
    Bug(
        "points between -1 and 0 are outside",
        cause="border pixel not continued",
        old="""    inside = (ys >= -1) & (ys <= height) & (xs >= -1) & (xs <= width)
    ys, xs = np.clip(ys, 0, height - 1), np.clip(xs, 0, width - 1)
    top, left = np.floor(ys).astype(int), np.floor(xs).astype(int)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    dy, dx = ys - top, xs - left
    upper""",
        new="""    inside = (ys >= 0) & (ys <= height - 1) & (xs >= 0) & (xs <= width - 1)
    ys, xs = np.clip(ys, 0, height - 1), np.clip(xs, 0, width - 1)
    top, left = np.floor(ys).astype(int), np.floor(xs).astype(int)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    dy, dx = ys - top, xs - left
    upper""",
    ),
    Bug(
        "points at exactly -1 and the size are outside",
        cause="points at exactly -1 or the size",
        old="""    inside = (ys >= -1) & (ys <= height) & (xs >= -1) & (xs <= width)
    ys, xs = np.clip(ys, 0, height - 1), np.clip(xs, 0, width - 1)
    top, left = np.floor(ys).astype(int), np.floor(xs).astype(int)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    dy, dx = ys - top, xs - left
    upper""",
        new="""    inside = (ys > -1) & (ys < height) & (xs > -1) & (xs < width)
    ys, xs = np.clip(ys, 0, height - 1), np.clip(xs, 0, width - 1)
    top, left = np.floor(ys).astype(int), np.floor(xs).astype(int)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    dy, dx = ys - top, xs - left
    upper""",
    ),
    Bug(
        "weights of upper and lower row exchanged",
        cause="weights of the neighbours exchanged",
        old="return (upper * (1 - dy) + lower * dy) * inside",
        new="return (upper * dy + lower * (1 - dy)) * inside",
    ),
    Bug(
        "gradients of points that share a pixel are overwritten",
        cause="overwritten instead of added",
        old="""    np.add.at(grad_x, (channel, top, left), grad * (1 - dy) * (1 - dx))
    np.add.at(grad_x, (channel, top, right), grad * (1 - dy) * dx)
    np.add.at(grad_x, (channel, bottom, left), grad * dy * (1 - dx))
    np.add.at(grad_x, (channel, bottom, right), grad * dy * dx)
""",
        new="""    grad_x[channel, top, left] += grad * (1 - dy) * (1 - dx)
    grad_x[channel, top, right] += grad * (1 - dy) * dx
    grad_x[channel, bottom, left] += grad * dy * (1 - dx)
    grad_x[channel, bottom, right] += grad * dy * dx
""",
    ),
    Bug(
        "points that count as 0 send a gradient",
        cause="points far outside count as the border",
        old="    grad = grad * inside\n",
        new="",
    ),
    Bug(
        "bilinear_backward changes its grad",
        cause="input changed in place",
        old="    grad = grad * inside\n",
        new="    grad *= inside\n",
    ),
    # -- 5. RoIAlign
    Bug(
        "no half pixel when aligned",
        cause="shift of half a pixel",
        old="start = low * scale - (0.5 if aligned else 0.0)",
        new="start = low * scale",
    ),
    Bug(
        "half a pixel of the picture, not of the map",
        cause="shift of half a pixel",
        old="start = low * scale - (0.5 if aligned else 0.0)",
        new="start = (low - (0.5 if aligned else 0.0)) * scale",
    ),
    Bug(
        "aligned regions are at least 1 long, too",
        cause="short aligned regions made 1 long",
        old="""    if not aligned:
        length = max(length, 1.0)
""",
        new="""    length = max(length, 1.0)
""",
    ),
    Bug(
        "short regions are not made 1 long",
        cause="short regions not made 1 long",
        old="""    if not aligned:
        length = max(length, 1.0)
""",
        new="",
    ),
    Bug(
        "points at the beginning of their parts",
        cause="points not in the middle of their parts",
        old="parts = (np.arange(n) + 0.5) / max(n, 1)",
        new="parts = np.arange(n) / max(n, 1)",
    ),
    Bug(
        "number of adaptive points rounded down",
        cause="number of points not rounded up",
        old="math.ceil(step)",
        new="max(math.floor(step), 1)",
    ),
    Bug(
        "RoIAlign takes image 0",
        cause="image of the region ignored",
        old="values = bilinear(x[int(image)], ys.ravel(), xs.ravel())",
        new="values = bilinear(x[0], ys.ravel(), xs.ravel())",
    ),
    Bug(
        "rows from x and columns from y",
        cause="x and y exchanged",
        old="    for k, (image, x1, y1, x2, y2) in enumerate(rois):",
        new="    for k, (image, y1, x1, y2, x2) in enumerate(rois):",
    ),
    Bug(
        "sum over the points of a bin",
        cause="sum instead of the mean over points",
        old="values.reshape(-1, *ys.shape).mean(axis=(3, 4))",
        new="values.reshape(-1, *ys.shape).sum(axis=(3, 4))",
    ),
    Bug(
        "the gradient is not divided among the points",
        cause="gradient not divided by the number of points",
        old="each = own[..., None, None] / (rows.shape[1] * columns.shape[1])",
        new="each = own[..., None, None]",
    ),
    Bug(
        "as many points along x as along y",
        cause="divided by the points of one axis",
        old="(rows.shape[1] * columns.shape[1])",
        new="rows.shape[1]",
    ),
    Bug(
        "the last region of an image overwrites the others",
        cause="overwritten instead of added",
        old="grad_x[int(image)] += bilinear_backward(",
        new="grad_x[int(image)] = bilinear_backward(",
    ),
    Bug(
        "the gradient of all regions goes to image 0",
        cause="image of the region ignored",
        old="grad_x[int(image)] += bilinear_backward(",
        new="grad_x[0] += bilinear_backward(",
    ),
    # -- 6. the region proposal network
    Bug(
        "log(1 + exp(logit))",
        cause="not stable for large logits",
        old="""    small = np.exp(-np.abs(logits))
    losses = np.maximum(logits, 0.0) - logits * targets + np.log1p(small)
""",
        new="""    small = np.exp(-np.abs(logits))
    losses = np.log(1 + np.exp(logits)) - logits * targets
""",
    ),
    Bug(
        "a small number inside the logarithm",
        cause="not stable for large logits",
        old="    losses = np.maximum(logits, 0.0) - logits * targets + np.log1p(small)\n"
        "    probability = np.where(logits >= 0, 1.0, small) / (1.0 + small)\n",
        new="    probability = np.where(logits >= 0, 1.0, small) / (1.0 + small)\n"
        "    yes, no = np.log(probability + 1e-12), np.log(1 - probability + 1e-12)\n"
        "    losses = -(targets * yes + (1 - targets) * no)\n",
    ),
    Bug(
        "the derivative by the probability",
        cause="derivative by the probability",
        old="return losses, probability - targets",
        new="variance = np.maximum(probability * (1 - probability), 1e-300)\n"
        "    return losses, (probability - targets) / variance",
    ),
    Bug(
        "a jump at beta",
        cause="a jump at beta",
        old="np.abs(d) - beta / 2)",
        new="np.abs(d) - 0.5)",
    ),
    Bug(
        "the slope without beta",
        cause="beta forgotten in the slope",
        old="np.where(near, d / beta, np.sign(d))",
        new="np.where(near, d, np.sign(d))",
    ),
    Bug(
        "boxes divided by the positive anchors",
        cause="boxes divided by the positive anchors",
        old="return float(objectness.sum() / count), float(boxes.sum() / count), grad_logits,",
        new="good = max(len(positive), 1)\n"
        "    return float(objectness.sum() / count), float(boxes.sum() / good), grad_logits,",
    ),
    Bug(
        "the gradients of the RPN are not divided",
        cause="gradient not divided",
        old="""    grad_logits[drawn] = slope / count
    grad_deltas[positive] = box_slope / count
""",
        new="""    grad_logits[drawn] = slope
    grad_deltas[positive] = box_slope
""",
    ),
    Bug(
        "divided by the anchors of the whole picture",
        cause="divided by another number",
        old="count = max(len(positive) + len(negative), 1)",
        new="count = len(logits)",
    ),
    Bug(
        "proposals are not cut off",
        cause="not cut off at the picture",
        old="""    boxes = decode(deltas[order], anchors[order])
    boxes = np.clip(boxes, 0.0, [width, height, width, height])
""",
        new="""    boxes = decode(deltas[order], anchors[order])
""",
    ),
    Bug(
        "proposals are cut off at H and W",
        cause="H and W swapped",
        old="""    order = np.argsort(-logits, kind="stable")[:pre_top]
    height, width = image_size
""",
        new="""    order = np.argsort(-logits, kind="stable")[:pre_top]
    width, height = image_size
""",
    ),
    Bug(
        "a box with one long side stays",
        cause="small boxes left in",
        old=">= min_size).all(axis=1)",
        new=">= min_size).any(axis=1)",
    ),
    Bug(
        "the best ones are taken after small ones are left out",
        cause="pre_top after the other steps",
        old="""    order = np.argsort(-logits, kind="stable")[:pre_top]
    height, width = image_size
    boxes = decode(deltas[order], anchors[order])
    boxes = np.clip(boxes, 0.0, [width, height, width, height])
    large = ((boxes[:, 2:] - boxes[:, :2]) >= min_size).all(axis=1)
    boxes, scores = boxes[large], logits[order][large]
""",
        new="""    order = np.argsort(-logits, kind="stable")
    height, width = image_size
    boxes = decode(deltas[order], anchors[order])
    boxes = np.clip(boxes, 0.0, [width, height, width, height])
    large = ((boxes[:, 2:] - boxes[:, :2]) >= min_size).all(axis=1)
    boxes, scores = boxes[large][:pre_top], logits[order][large][:pre_top]
""",
    ),
    Bug(
        "post_top before the suppression",
        cause="post_top before the suppression",
        old="kept = nms(boxes, scores, threshold)[:post_top]",
        new="kept = nms(boxes[:post_top], scores[:post_top], threshold)",
    ),
    # -- 7. the second stage
    Bug(
        "levels are rounded",
        cause="level not rounded down",
        old="level = np.floor(canonical_level",
        new="level = np.round(canonical_level",
    ),
    Bug(
        "the level of the area",
        cause="area instead of its root",
        old="np.log2(np.sqrt(area) / canonical_size)",
        new="np.log2(area / canonical_size)",
    ),
    Bug(
        "levels below the lowest",
        cause="levels not limited",
        old="return np.clip(level, lowest, highest).astype(np.int64)",
        new="return np.minimum(level, highest).astype(np.int64)",
    ),
    Bug(
        "224 and 4 instead of the arguments",
        cause="canonical values fixed",
        old="np.floor(canonical_level + np.log2(np.sqrt(area) / canonical_size))",
        new="np.floor(4 + np.log2(np.sqrt(area) / 224))",
    ),
    Bug(
        "boxes of the head divided by the objects",
        cause="boxes divided by the objects",
        old="return float(loss_classes), float(boxes.sum() / count),",
        new="return float(loss_classes), float(boxes.sum() / max(len(objects), 1)),",
    ),
    Bug(
        "background has a box",
        cause="boxes of background",
        old="objects = np.flatnonzero(labels > 0)",
        new="objects = np.flatnonzero(labels >= 0)",
    ),
    Bug(
        "deltas of the class before",
        cause="deltas of another class",
        old="""    own = labels[objects]
""",
        new="""    own = labels[objects] - 1
""",
    ),
    Bug(
        "a gradient to the deltas of all classes",
        cause="deltas of all classes",
        old="grad_deltas[objects, own] = slope / count",
        new="grad_deltas[objects] = slope[:, None] / count",
    ),
    Bug(
        "softmax without subtracting the largest logit",
        cause="softmax overflows",
        old="shifted = logits - logits.max(axis=1, keepdims=True)\n    total",
        new="shifted = logits\n    total",
    ),
    Bug(
        "the gradients of the head are not divided",
        cause="gradient not divided",
        old="float(boxes.sum() / count), grad_logits / count, grad_deltas",
        new="float(boxes.sum() / count), grad_logits, grad_deltas",
    ),
    Bug(
        "detections of background",
        cause="background reported",
        old="for label in range(1, logits.shape[1]):",
        new="for label in range(logits.shape[1]):",
    ),
    Bug(
        "one suppression for all classes",
        cause="suppression across classes",
        old="    row, label = np.concatenate(rows), np.concatenate(labels)\n",
        new="    row, label = np.concatenate(rows), np.concatenate(labels)\n"
        "    whole = nms(moved[row, label], every[row, label], threshold)\n"
        "    row, label = row[whole], label[whole]\n",
    ),
    Bug(
        "decode without the weights",
        cause="weights not applied",
        old="moved = decode(deltas, boxes[:, None], weights)",
        new="moved = decode(deltas, boxes[:, None])",
    ),
    Bug(
        "detections are not cut off",
        cause="not cut off at the picture",
        old="    moved = np.clip(moved, 0.0, [width, height, width, height])\n",
        new="",
    ),
    Bug(
        "the most of each class",
        cause="most of each class",
        old="rows.append(candidates[kept])\n        labels.append(np.full(len(kept), label))\n"
        "    row, label = np.concatenate(rows), np.concatenate(labels)\n"
        '    first = np.argsort(-every[row, label], kind="stable")[:most]',
        new="kept = kept[:most]\n        rows.append(candidates[kept])\n"
        "        labels.append(np.full(len(kept), label))\n"
        "    row, label = np.concatenate(rows), np.concatenate(labels)\n"
        '    first = np.argsort(-every[row, label], kind="stable")',
    ),
    Bug(
        "detections class after class",
        cause="not by falling score",
        old='first = np.argsort(-every[row, label], kind="stable")[:most]',
        new='first = np.sort(np.argsort(-every[row, label], kind="stable")[:most])',
    ),
    # -- 8. masks
    Bug(
        "masks are not aligned",
        cause="not aligned",
        old="(size, size), 1.0, 0, True)[:, 0]",
        new="(size, size), 1.0, 0, False)[:, 0]",
    ),
    Bug(
        "mask k for proposal k",
        cause="mask of another object",
        old="rois = np.concatenate([matches[:, None], boxes], axis=1)",
        new="number = np.arange(len(boxes))[:, None] % len(masks)\n"
        "    rois = np.concatenate([number, boxes], axis=1)",
    ),
    Bug(
        "targets are cut to 0 and 1",
        cause="cut to 0 and 1",
        old="return roi_align(masks[:, None].astype(float), rois, (size, size), 1.0, 0, "
        "True)[:, 0]",
        new="cut = roi_align(masks[:, None].astype(float), rois, (size, size), 1.0, 0, True)\n"
        "    return (cut[:, 0] >= 0.5).astype(float)",
    ),
    Bug(
        "two points a bin whatever its size",
        cause="fixed instead of adaptive sampling",
        old="(size, size), 1.0, 0, True)[:, 0]",
        new="(size, size), 1.0, 2, True)[:, 0]",
    ),
    Bug(
        "the mask of the class before",
        cause="masks counted from 0",
        old="losses, slope = binary_cross_entropy(logits[rows, labels], targets)",
        new="losses, slope = binary_cross_entropy(logits[rows, labels - 1], targets)",
    ),
    Bug(
        "masks divided by the proposals alone",
        cause="divided by another number",
        old="""    gradient[rows, labels] = slope / max(slope.size, 1)
    return float(losses.sum() / max(losses.size, 1)), gradient
""",
        new="""    gradient[rows, labels] = slope / max(len(slope), 1)
    return float(losses.sum() / max(len(losses), 1)), gradient
""",
    ),
    Bug(
        "the masks' gradient is not divided",
        cause="gradient not divided",
        old="gradient[rows, labels] = slope / max(slope.size, 1)",
        new="gradient[rows, labels] = slope",
    ),
    Bug(
        "the mean of no masks",
        cause="0 / 0",
        old="return float(losses.sum() / max(losses.size, 1)), gradient",
        new="return float(losses.mean()), gradient",
    ),
]

"""Training scripts written for torch run under minidl when their import lines are changed.

Each script is kept as text and run twice: as it is, and with the names behind `import` and `from`
replaced, nothing else. Both runs begin with the same weights, carried over by `state_dict`, so that
the numbers they collect in `results` must agree.

What a script finds in its namespace beside Python: `same_start(model)`, which carries the weights
over, `results`, a dictionary to fill, `folder`, to write files to.
"""

from __future__ import annotations

import re
import textwrap
import warnings

import numpy as np
import pytest

MODULES = {
    "torch": "minidl",
    "torch.autograd": "minidl.autograd",
    "torch.nn": "minidl.nn",
    "torch.nn.functional": "minidl.nn.functional",
    "torch.nn.utils": "minidl.nn.utils",
    "torch.optim": "minidl.optim",
    "torch.optim.lr_scheduler": "minidl.optim.lr_scheduler",
    "torch.utils.data": "minidl.data",
}


def to_minidl(script: str) -> str:
    """The script with other modules behind its `import` and `from`."""

    def replaced(match):
        keyword, module, rest = match.groups()
        if keyword == "import" and not rest:
            rest = f" as {module}"  # the name by which the rest of the script knows it
        return f"{keyword} {MODULES[module]}{rest}"

    return re.sub(r"^(import|from) (torch[\w.]*)(.*)$", replaced, script, flags=re.MULTILINE)


def run(script: str, start: list, folder) -> dict:
    """Run a script; `start` keeps the first weights of its models, or has them already."""
    given = len(start) > 0
    models = []

    def same_start(model):
        if given:
            model.load_state_dict(start[len(models)])
        else:
            start.append({name: x.numpy().copy() for name, x in model.state_dict().items()})
        models.append(model)
        return model

    namespace = {"same_start": same_start, "results": {}, "folder": str(folder), "__name__": "main"}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=RuntimeWarning)
        exec(compile(script, "script", "exec"), namespace)
    return namespace["results"]


def compare(script: str, tmp_path, rtol=1e-4):
    pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    script = textwrap.dedent(script)
    start: list = []
    expected = run(script, start, tmp_path)
    ours = to_minidl(script)
    assert not re.search(r"^(import|from) torch", ours, flags=re.MULTILINE)
    actual = run(ours, start, tmp_path)
    assert list(actual) == list(expected)
    assert expected, "the script collected nothing"
    for name, values in expected.items():
        values, mine = np.asarray(values), np.asarray(actual[name])
        assert mine.shape == values.shape, name
        np.testing.assert_allclose(mine, values, rtol=rtol, atol=1e-7, err_msg=name)
    return actual


LENET = """
    import numpy as np
    import torch
    import torch.nn as nn
    import torch.nn.functional as F
    import torch.optim as optim
    from torch.optim.lr_scheduler import StepLR
    from torch.utils.data import DataLoader, Dataset


    class Blobs(Dataset):
        # Bright squares on noise; the class is the square's place.

        def __init__(self, count, seed):
            rng = np.random.default_rng(seed)
            self.labels = rng.integers(0, 10, count)
            self.images = rng.normal(0.1307, 0.3081, (count, 28, 28)).astype(np.float32)
            for image, label in zip(self.images, self.labels):
                row, column = divmod(int(label), 4)
                image[8 * row : 8 * row + 6, 7 * column : 7 * column + 6] += 1.5

        def __len__(self):
            return len(self.labels)

        def __getitem__(self, index):
            if torch.is_tensor(index):
                index = index.tolist()
            image = torch.from_numpy(self.images[index]).unsqueeze(0)
            return (image - 0.1307) / 0.3081, int(self.labels[index])


    class Net(nn.Module):
        def __init__(self):
            super(Net, self).__init__()
            self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
            self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
            self.dropout = nn.Dropout2d(p=0.0)
            self.fc1 = nn.Linear(16 * 5 * 5, 120)
            self.fc2 = nn.Linear(120, 84)
            self.fc3 = nn.Linear(84, 10)

        def forward(self, x):
            x = F.max_pool2d(F.relu(self.conv1(x)), (2, 2))
            x = F.max_pool2d(F.relu(self.conv2(x)), 2)
            x = self.dropout(x)
            x = x.view(-1, self.num_flat_features(x))
            x = F.relu(self.fc1(x))
            x = F.dropout(torch.tanh(self.fc2(x)), p=0.0, training=self.training)
            return F.log_softmax(self.fc3(x), dim=1)

        def num_flat_features(self, x):
            size = 1
            for s in x.size()[1:]:
                size *= s
            return size


    def train(model, device, loader, optimizer, epoch):
        model.train()
        for batch_idx, (data, target) in enumerate(loader):
            data, target = data.to(device), target.to(device)
            optimizer.zero_grad()
            output = model(data)
            loss = F.nll_loss(output, target)
            loss.backward()
            optimizer.step()
            results["losses"].append(loss.item())
            if batch_idx % 2 == 0:
                print(
                    "Epoch: {} [{}/{} ({:.0f}%)]  Loss: {:.6f}".format(
                        epoch,
                        batch_idx * len(data),
                        len(loader.dataset),
                        100.0 * batch_idx / len(loader),
                        loss.item(),
                    )
                )


    def test(model, device, loader):
        model.eval()
        test_loss = 0
        correct = 0
        with torch.no_grad():
            for data, target in loader:
                data, target = data.to(device), target.to(device)
                output = model(data)
                test_loss += F.nll_loss(output, target, reduction="sum").item()
                pred = output.argmax(dim=1, keepdim=True)
                correct += pred.eq(target.view_as(pred)).sum().item()
        test_loss /= len(loader.dataset)
        print(f"Test: average loss: {test_loss:.4f}, accuracy: {correct}/{len(loader.dataset)}")
        return test_loss, correct


    torch.manual_seed(1)
    use_cuda = False and torch.cuda.is_available()
    device = torch.device("cuda" if use_cuda else "cpu")
    kwargs = {"num_workers": 0, "pin_memory": False}
    train_loader = DataLoader(Blobs(80, 0), batch_size=16, shuffle=False, **kwargs)
    test_loader = DataLoader(Blobs(50, 1), batch_size=25, **kwargs)

    model = same_start(Net()).to(device)
    optimizer = optim.SGD(model.parameters(), lr=0.02, momentum=0.9, weight_decay=5e-4)
    scheduler = StepLR(optimizer, step_size=1, gamma=0.7)
    results["losses"], results["rates"], results["tests"] = [], [], []
    for epoch in range(1, 4):
        train(model, device, train_loader, optimizer, epoch)
        results["tests"].append(test(model, device, test_loader))
        scheduler.step()
        results["rates"].append(scheduler.get_last_lr()[0])

    torch.save(model.state_dict(), folder + "/lenet.pt")
    fresh = Net()
    fresh.load_state_dict(torch.load(folder + "/lenet.pt", map_location=device, weights_only=True))
    results["reloaded"] = test(fresh, device, test_loader)
    results["parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
"""

RESNET = """
    import numpy as np
    import torch
    from torch import nn, optim
    from torch.nn import functional as F
    from torch.optim import lr_scheduler
    from torch.utils.data import DataLoader, TensorDataset


    def conv3x3(in_planes, out_planes, stride=1):
        return nn.Conv2d(
            in_planes, out_planes, kernel_size=3, stride=stride, padding=1, bias=False
        )


    class BasicBlock(nn.Module):
        expansion = 1

        def __init__(self, in_planes, planes, stride=1, downsample=None):
            super().__init__()
            self.conv1 = conv3x3(in_planes, planes, stride)
            self.bn1 = nn.BatchNorm2d(planes)
            self.relu = nn.ReLU(inplace=True)
            self.conv2 = conv3x3(planes, planes)
            self.bn2 = nn.BatchNorm2d(planes)
            self.downsample = downsample

        def forward(self, x):
            identity = x
            out = self.relu(self.bn1(self.conv1(x)))
            out = self.bn2(self.conv2(out))
            if self.downsample is not None:
                identity = self.downsample(x)
            out += identity
            return self.relu(out)


    class ResNet(nn.Module):
        def __init__(self, block, layers, num_classes=10):
            super().__init__()
            self.in_planes = 8
            self.stem = nn.Sequential(conv3x3(3, 8), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
            self.layer1 = self._make_layer(block, 8, layers[0])
            self.layer2 = self._make_layer(block, 16, layers[1], stride=2)
            self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
            self.fc = nn.Linear(16 * block.expansion, num_classes)
            for m in self.modules():
                if isinstance(m, nn.Conv2d):
                    nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                elif isinstance(m, (nn.BatchNorm2d, nn.GroupNorm)):
                    nn.init.constant_(m.weight, 1)
                    nn.init.constant_(m.bias, 0)
                elif isinstance(m, nn.Linear):
                    nn.init.xavier_uniform_(m.weight)
                    nn.init.zeros_(m.bias)

        def _make_layer(self, block, planes, blocks, stride=1):
            downsample = None
            if stride != 1 or self.in_planes != planes * block.expansion:
                downsample = nn.Sequential(
                    nn.Conv2d(self.in_planes, planes * block.expansion, 1, stride, bias=False),
                    nn.BatchNorm2d(planes * block.expansion),
                )
            layers = [block(self.in_planes, planes, stride, downsample)]
            self.in_planes = planes * block.expansion
            layers += [block(self.in_planes, planes) for _ in range(1, blocks)]
            return nn.Sequential(*layers)

        def forward(self, x):
            x = self.layer2(self.layer1(self.stem(x)))
            x = torch.flatten(self.avgpool(x), 1)
            return self.fc(x)


    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, 4, 32))
    images = torch.tensor(rng.normal(size=(32, 3, 16, 16)), dtype=torch.float32)
    images[:, 0] += labels.float().view(-1, 1, 1) / 2
    loader = DataLoader(TensorDataset(images, labels), batch_size=8, drop_last=True)

    net = same_start(ResNet(BasicBlock, [1, 2], num_classes=4))
    criterion = nn.CrossEntropyLoss(label_smoothing=0.1)
    decay = [p for name, p in net.named_parameters() if p.ndim > 1]
    no_decay = [p for name, p in net.named_parameters() if p.ndim <= 1]
    optimizer = optim.AdamW(
        [{"params": decay, "weight_decay": 0.05}, {"params": no_decay, "weight_decay": 0.0}],
        lr=2e-3,
        betas=(0.9, 0.95),
    )
    scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=8)
    results["losses"], results["norms"], results["accuracy"] = [], [], []
    for epoch in range(2):
        net.train()
        running_loss, correct, total = 0.0, 0, 0
        for i, data in enumerate(loader, 0):
            inputs, targets = data
            optimizer.zero_grad(set_to_none=True)
            outputs = net(inputs)
            loss = criterion(outputs, targets)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(net.parameters(), max_norm=1.0)
            optimizer.step()
            scheduler.step()
            results["losses"].append(loss.item())
            results["norms"].append(norm.item())
            _, predicted = torch.max(outputs.data, 1)
            total += targets.size(0)
            correct += (predicted == targets).sum().item()
        results["accuracy"].append(100 * correct / total)

    net.eval()
    with torch.no_grad():
        probabilities = F.softmax(net(images), dim=1)
        top = probabilities.topk(2, dim=1)
    results["top"] = top.values.numpy()
    results["running"] = net.layer2[0].bn1.running_var.numpy()
    results["batches"] = net.layer2[0].bn1.num_batches_tracked.item()
    checkpoint = {
        "epoch": epoch,
        "model": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "loss": loss.item(),
    }
    torch.save(checkpoint, folder + "/checkpoint.pt")
    stored = torch.load(folder + "/checkpoint.pt", weights_only=True)
    net.load_state_dict(stored["model"])
    optimizer.load_state_dict(stored["optimizer"])
    results["epoch"] = stored["epoch"]
    net.train()
    for _ in range(2):
        optimizer.zero_grad()
        loss = criterion(net(images[:8]), labels[:8])
        loss.backward()
        optimizer.step()
        results["losses"].append(loss.item())
"""

UNET = """
    import numpy as np
    import torch
    import torch.nn as nn
    import torch.nn.functional as F


    class DoubleConv(nn.Module):
        def __init__(self, in_ch, out_ch):
            super().__init__()
            self.block = nn.Sequential(
                nn.Conv2d(in_ch, out_ch, 3, padding="same"),
                nn.GroupNorm(2, out_ch),
                nn.LeakyReLU(0.1, inplace=True),
                nn.Conv2d(out_ch, out_ch, 3, padding=1),
                nn.InstanceNorm2d(out_ch, affine=True),
                nn.GELU(),
            )

        def forward(self, x):
            return self.block(x)


    class UNet(nn.Module):
        def __init__(self, channels=(4, 8)):
            super().__init__()
            self.downs = nn.ModuleList()
            self.ups = nn.ModuleList()
            last = 1
            for c in channels:
                self.downs.append(DoubleConv(last, c))
                last = c
            self.pool = nn.MaxPool2d(kernel_size=2, stride=2)
            self.bottom = DoubleConv(last, 2 * last)
            for c in reversed(channels):
                self.ups.append(nn.ConvTranspose2d(2 * c, c, kernel_size=2, stride=2))
                self.ups.append(DoubleConv(2 * c, c))
            self.head = nn.Conv2d(channels[0], 1, kernel_size=1)
            self.coarse = nn.Sequential(
                nn.Upsample(scale_factor=4, mode="bilinear", align_corners=True),
                nn.Conv2d(2 * last, 1, 1),
            )

        def forward(self, x):
            skips = []
            for down in self.downs:
                x = down(x)
                skips.append(x)
                x = self.pool(x)
            x = self.bottom(x)
            coarse = self.coarse(x)
            skips = skips[::-1]
            for i in range(0, len(self.ups), 2):
                x = self.ups[i](x)
                skip = skips[i // 2]
                if x.shape != skip.shape:
                    x = F.interpolate(x, size=skip.shape[2:], mode="nearest")
                x = self.ups[i + 1](torch.cat((skip, x), dim=1))
            return self.head(x), coarse


    def dice_loss(logits, target, eps=1e-6):
        p = torch.sigmoid(logits).flatten(1)
        t = target.flatten(1)
        overlap = (p * t).sum(-1)
        return 1 - ((2 * overlap + eps) / (p.sum(-1) + t.sum(-1) + eps)).mean()


    grid = np.mgrid[0:18, 0:16]
    masks = np.stack([(grid[0] - 6 - i) ** 2 + (grid[1] - 8) ** 2 < 20 for i in range(4)])
    noise = np.random.default_rng(0).normal(0, 0.3, masks.shape)
    y = torch.as_tensor(masks[:, None].astype(np.float32))
    x = torch.as_tensor((masks + noise)[:, None], dtype=torch.float32)

    model = same_start(UNet())
    bce = nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0]))
    optimizer = torch.optim.RMSprop(model.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-8)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "min", patience=0)
    results["losses"], results["iou"] = [], []
    for epoch in range(5):
        model.train()
        logits, coarse = model(x)
        aux = F.mse_loss(F.interpolate(coarse, size=(18, 16)), y)
        loss = bce(logits, y) + dice_loss(logits, y) + 0.4 * aux
        for param in model.parameters():
            param.grad = None
        loss.backward()
        torch.nn.utils.clip_grad_value_(model.parameters(), 0.5)
        optimizer.step()
        scheduler.step(loss.item())
        results["losses"].append(loss.item())
        with torch.no_grad():
            found = (torch.sigmoid(logits) > 0.5).float()
            union = torch.clamp(found + y, 0, 1).sum()
            results["iou"].append(((found * y).sum() / union).item())
    results["rate"] = optimizer.param_groups[0]["lr"]
    results["pixels"] = torch.where(y > 0, logits.detach(), torch.zeros_like(logits)).sum().item()
"""

GAN = """
    import numpy as np
    import torch
    import torch.nn as nn
    import torch.optim as optim


    def weights_init(m):
        name = m.__class__.__name__
        if name.find("Conv") != -1:
            nn.init.normal_(m.weight.data, 0.0, 0.02)
        elif name.find("BatchNorm") != -1:
            nn.init.normal_(m.weight.data, 1.0, 0.02)
            nn.init.constant_(m.bias.data, 0)


    class Generator(nn.Module):
        def __init__(self, nz=8, ngf=4):
            super().__init__()
            self.main = nn.Sequential(
                nn.ConvTranspose2d(nz, ngf * 2, 4, 1, 0, bias=False),
                nn.BatchNorm2d(ngf * 2),
                nn.ReLU(True),
                nn.ConvTranspose2d(ngf * 2, ngf, 4, 2, 1, bias=False),
                nn.BatchNorm2d(ngf),
                nn.ReLU(True),
                nn.ConvTranspose2d(ngf, 1, 4, 2, 1, bias=False),
                nn.Tanh(),
            )

        def forward(self, z):
            return self.main(z)


    class Discriminator(nn.Module):
        def __init__(self, ndf=4):
            super().__init__()
            self.main = nn.Sequential(
                nn.Conv2d(1, ndf, 4, 2, 1, bias=False),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Conv2d(ndf, ndf * 2, 4, 2, 1, bias=False),
                nn.BatchNorm2d(ndf * 2),
                nn.LeakyReLU(0.2, inplace=True),
                nn.Conv2d(ndf * 2, 1, 4, 1, 0, bias=False),
                nn.Sigmoid(),
            )

        def forward(self, x):
            return self.main(x).view(-1, 1).squeeze(1)


    device = torch.device("cpu")
    rng = np.random.default_rng(0)
    netG = Generator().to(device)
    netG.apply(weights_init)
    same_start(netG)
    netD = Discriminator().to(device)
    netD.apply(weights_init)
    same_start(netD)
    criterion = nn.BCELoss()
    optimizerD = optim.Adam(netD.parameters(), lr=2e-4, betas=(0.5, 0.999))
    optimizerG = optim.Adam(netG.parameters(), lr=2e-4, betas=(0.5, 0.999))
    results["D"], results["G"], results["x"], results["z"] = [], [], [], []
    for i in range(4):
        real = torch.from_numpy(rng.uniform(-1, 1, (6, 1, 16, 16)).astype(np.float32)).to(device)
        noise = torch.from_numpy(rng.normal(size=(6, 8, 1, 1)).astype(np.float32))

        netD.zero_grad()
        label = torch.full((6,), 1.0, dtype=torch.float, device=device)
        output = netD(real)
        errD_real = criterion(output, label)
        errD_real.backward()
        D_x = output.mean().item()
        fake = netG(noise)
        label.fill_(0.0)
        output = netD(fake.detach())
        errD_fake = criterion(output, label)
        errD_fake.backward()
        errD = errD_real + errD_fake
        optimizerD.step()

        netG.zero_grad()
        label.fill_(1.0)
        output = netD(fake)
        errG = criterion(output, label)
        errG.backward()
        optimizerG.step()
        results["D"].append(errD.item())
        results["G"].append(errG.item())
        results["x"].append(D_x)
        results["z"].append(output.mean().item())

    # The gradient penalty of a Wasserstein critic, which needs second derivatives.
    critic = same_start(nn.Sequential(nn.Conv2d(1, 4, 4, 2), nn.Softplus(), nn.Conv2d(4, 1, 7)))
    optimizer = optim.SGD(critic.parameters(), lr=0.1)
    results["penalty"] = []
    for i in range(3):
        alpha = torch.from_numpy(rng.uniform(size=(6, 1, 1, 1)).astype(np.float32))
        between = (alpha * real + (1 - alpha) * fake.detach()).requires_grad_(True)
        score = critic(between)
        gradients = torch.autograd.grad(
            outputs=score,
            inputs=between,
            grad_outputs=torch.ones_like(score),
            create_graph=True,
            retain_graph=True,
            only_inputs=True,
        )[0]
        gradients = gradients.view(gradients.size(0), -1)
        penalty = 10 * ((gradients.norm(2, dim=1) - 1) ** 2).mean()
        loss = critic(fake.detach()).mean() - critic(real).mean() + penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for p in critic.parameters():
            p.data.clip(-1.0, 1.0)
        results["penalty"].append(penalty.item())
"""

PARTS = """
    import copy
    import math

    import numpy as np
    import torch
    import torch.nn as nn
    from torch.autograd import Function
    from torch.nn import Parameter


    class Squash(Function):
        @staticmethod
        def forward(ctx, input, scale):
            result = torch.tanh(input * scale) if torch.is_tensor(input) else np.tanh(input * scale)
            ctx.save_for_backward(result)
            ctx.scale = scale
            return result

        @staticmethod
        def backward(ctx, grad_output):
            (result,) = ctx.saved_tensors
            return grad_output * (1 - result * result) * ctx.scale, None


    class Positions(nn.Module):
        def __init__(self, length, width):
            super().__init__()
            place = torch.arange(length).unsqueeze(1)
            rate = torch.exp(torch.arange(0, width, 2) * (-math.log(100.0) / width))
            table = torch.zeros(length, width)
            table[:, 0::2] = torch.sin(place * rate)
            table[:, 1::2] = torch.cos(place * rate)
            self.register_buffer("table", table)
            self.gain = Parameter(torch.ones(width))

        def forward(self, x):
            return x + self.gain * self.table[: x.size(1)]


    class Attention(nn.Module):
        def __init__(self, width, heads):
            super().__init__()
            self.heads = heads
            self.qkv = nn.Linear(width, 3 * width)
            self.out = nn.Linear(width, width)

        def forward(self, x):
            b, t, w = x.shape
            q, k, v = self.qkv(x).chunk(3, dim=-1)
            q, k, v = (y.view(b, t, self.heads, -1).transpose(1, 2) for y in (q, k, v))
            scores = (q @ k.transpose(-2, -1)) / math.sqrt(q.size(-1))
            causal = torch.tril(torch.ones(t, t)) == 0
            scores = scores.masked_fill(causal, float("-inf"))
            mixed = torch.softmax(scores, dim=-1) @ v
            return self.out(mixed.transpose(1, 2).contiguous().view(b, t, w))


    class Net(nn.Module):
        def __init__(self, width=8):
            super().__init__()
            self.positions = Positions(6, width)
            self.norm = nn.LayerNorm(width)
            self.attention = Attention(width, heads=2)
            self.layers = nn.ModuleDict(
                {"hidden": nn.Linear(width, 16), "out": nn.Linear(16, 3, bias=True)}
            )
            self.log_sigma = nn.Parameter(torch.zeros(1))

        def forward(self, x):
            x = self.positions(x)
            x = x + self.attention(self.norm(x))
            x = Squash.apply(self.layers["hidden"](x), 0.5)
            return self.layers["out"](x.mean(dim=1))


    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(5, 6, 8)).tolist())
    y = torch.tensor(rng.normal(size=(5, 3)).tolist())
    net = same_start(Net())

    seen, shapes = [], []
    handle = net.layers["hidden"].weight.register_hook(lambda grad: seen.append(grad.norm().item()))
    forward = net.norm.register_forward_hook(lambda m, i, o: shapes.append(list(o.shape)))
    net.layers["out"].bias.register_hook(lambda grad: grad * 2)

    optimizer = torch.optim.SGD(
        [
            {"params": net.attention.parameters()},
            {"params": net.layers.parameters(), "lr": 0.1},
            {"params": [net.log_sigma, net.positions.gain], "momentum": 0.0, "nesterov": False},
        ],
        lr=0.05,
        momentum=0.9,
        nesterov=True,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda=lambda e: 0.9**e)
    results["losses"] = []
    best, best_state = float("inf"), None
    for epoch in range(4):
        optimizer.zero_grad()
        prediction = net(x)
        prediction.retain_grad()
        error = (prediction - y).pow(2).sum(dim=1)
        loss = (error / (2 * net.log_sigma.exp() ** 2) + net.log_sigma).mean()
        l2 = sum(p.pow(2.0).sum() for p in net.parameters())
        loss = loss + 1e-4 * l2
        loss.backward()
        optimizer.step()
        scheduler.step()
        results["losses"].append(loss.item())
        if loss < best:
            best, best_state = loss.item(), copy.deepcopy(net.state_dict())
    handle.remove()
    forward.remove()
    results["seen"], results["shapes"] = seen, shapes
    results["retained"] = prediction.grad.numpy()
    results["names"] = [len(name) for name in net.state_dict()]
    results["rates"] = [group["lr"] for group in optimizer.param_groups]
    net.load_state_dict(best_state)

    # Fine-tuning: all frozen but a new last layer.
    for p in net.parameters():
        p.requires_grad = False
    net.layers["out"] = nn.Linear(16, 2)
    same_start(net)
    tuned = torch.optim.Adam(filter(lambda p: p.requires_grad, net.parameters()), lr=0.01)
    target = torch.tensor([0, 1, 1, 0, 1])
    confusion = torch.zeros(2, 2, dtype=torch.int64)
    for _ in range(3):
        out = net(x)
        loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))(out, target)
        tuned.zero_grad()
        loss.backward()
        tuned.step()
        results["losses"].append(loss.item())
        for t, p in zip(target.view(-1), out.argmax(1).view(-1)):
            confusion[t.long(), p.long()] += 1
    results["confusion"] = confusion.numpy()
    results["frozen"] = [p.grad is None for p in net.parameters()]
"""

BY_HAND = """
    import numpy as np
    import torch

    rng = np.random.default_rng(3)
    features = torch.tensor(rng.normal(size=(40, 2)), dtype=torch.float32)
    true_w = torch.tensor([2.0, -3.4])
    labels = torch.matmul(features, true_w) + 4.2
    labels += torch.tensor(rng.normal(0, 0.01, 40), dtype=torch.float32)


    def data_iter(batch_size, features, labels):
        for i in range(0, len(features), batch_size):
            indices = torch.tensor(list(range(i, min(i + batch_size, len(features)))))
            yield features[indices], labels[indices]


    w = torch.full((2, 1), 0.01, requires_grad=True)
    b = torch.zeros(1, requires_grad=True)
    lr = 0.03
    results["losses"] = []
    for epoch in range(3):
        for X, y in data_iter(10, features, labels):
            l = (torch.mm(X, w) + b - y.reshape(-1, 1)) ** 2 / 2
            l.sum().backward()
            with torch.no_grad():
                for param in (w, b):
                    param -= lr * param.grad / 10
                    param.grad.zero_()
        with torch.no_grad():
            train_l = (torch.matmul(features, w).squeeze() + b - labels) ** 2 / 2
            results["losses"].append(float(train_l.mean()))
    results["w"] = w.detach().numpy()
    results["b"] = b.item()

    # A perceptron of two layers, its weights plain tensors.
    X = torch.linspace(-1, 1, 21).reshape(-1, 1)
    Y = torch.sin(3 * X)
    W1 = torch.tensor(rng.normal(0, 1, (1, 8)), dtype=torch.float32, requires_grad=True)
    b1 = torch.zeros(8, requires_grad=True)
    W2 = torch.tensor(rng.normal(0, 1, (8, 1)), dtype=torch.float32, requires_grad=True)
    b2 = torch.zeros(1, requires_grad=True)
    params = [W1, b1, W2, b2]


    def relu(X):
        return torch.max(X, torch.zeros_like(X))


    def sgd(params, lr):
        with torch.no_grad():
            for p in params:
                p -= lr * p.grad
                p.grad = None


    results["fit"] = []
    for step in range(5):
        H = relu(X @ W1 + b1)
        out = H @ W2 + b2
        loss = ((out - Y) ** 2).mean()
        loss.backward()
        sgd(params, 0.05)
        results["fit"].append(loss.item())
    a = torch.arange(12, dtype=torch.float32).reshape(3, -1)
    results["sums"] = [a.sum().item(), a[-1].mean().item(), a[1:3, ::2].std().item()]
    results["cumulative"] = a.cumsum(dim=0).tolist()
    a[0:2, :] = 12
    results["assigned"] = a.tolist()
"""

LEARNS = """
    import torch
    import torch.nn as nn
    from torch.utils.data import DataLoader, TensorDataset, random_split

    torch.manual_seed(0)
    x = torch.randn(240, 2)
    y = ((x[:, 0] * x[:, 1]) > 0).long()
    train_set, val_set = random_split(TensorDataset(x, y), [200, 40])
    train_loader = DataLoader(train_set, batch_size=20, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=40)
    model = nn.Sequential(
        nn.Linear(2, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 2)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    loss_fn = nn.CrossEntropyLoss()
    for epoch in range(15):
        model.train()
        for xb, yb in train_loader:
            loss = loss_fn(model(xb), yb)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.inference_mode():
        for xb, yb in val_loader:
            accuracy = (model(xb).argmax(1) == yb).float().mean().item()
    results["accuracy"] = accuracy
    results["sizes"] = [len(train_set), len(val_set), len(train_loader)]
"""


def test_only_import_lines_change():
    script = textwrap.dedent(PARTS)
    changed = [
        (a, b)
        for a, b in zip(script.splitlines(), to_minidl(script).splitlines(), strict=True)
        if a != b
    ]
    assert changed
    for before, after in changed:
        assert before.startswith(("import torch", "from torch"))
        assert after.startswith(("import minidl", "from minidl"))


def test_a_lenet_on_images_with_loaders_schedule_evaluation_and_a_weight_file(tmp_path):
    results = compare(LENET, tmp_path)
    assert results["losses"][-1] < 0.8 * results["losses"][0]
    assert results["reloaded"] == results["tests"][-1]


def test_a_resnet_with_parameter_groups_clipping_and_a_checkpoint(tmp_path):
    compare(RESNET, tmp_path)


def test_a_unet_with_transposed_convolutions_resizing_and_mixed_losses(tmp_path):
    compare(UNET, tmp_path)


def test_a_gan_with_detached_fakes_and_a_gradient_penalty(tmp_path):
    compare(GAN, tmp_path)


def test_custom_functions_hooks_buffers_attention_and_fine_tuning(tmp_path):
    compare(PARTS, tmp_path)


def test_regression_and_a_perceptron_written_by_hand(tmp_path):
    compare(BY_HAND, tmp_path)


@pytest.mark.parametrize("library", ["torch", "minidl"])
def test_a_script_with_chance_in_it_learns_under_both(library, tmp_path):
    if library == "torch":
        pytest.importorskip("torch", reason="needs torch: pip install minidl[reference]")
    script = textwrap.dedent(LEARNS)
    results = run(to_minidl(script) if library == "minidl" else script, [], tmp_path)
    assert results["sizes"] == [200, 40, 10]
    assert results["accuracy"] >= 0.85


MIXED_PRECISION = """
    import torch
    import torch.nn as nn

    x = torch.linspace(-1, 1, 32).reshape(8, 4)
    y = torch.arange(8) % 3
    model = same_start(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    results["losses"] = []
    for _ in range(8):
        optimizer.zero_grad()
        with torch.autocast(device_type="cpu", dtype=torch.float16):
            loss = nn.functional.cross_entropy(model(x).float(), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        scaler.step(optimizer)
        scaler.update()
        results["losses"].append(loss.item())
    results["scale"] = scaler.get_scale()
"""


def test_training_in_mixed_precision(tmp_path):
    assert compare(MIXED_PRECISION, tmp_path, rtol=1e-2)["scale"] == 2.0**12

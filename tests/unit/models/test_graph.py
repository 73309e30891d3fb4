"""Networks as lists of plain calls: equal results, and nothing else can be called."""

import json

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from models.graph import GraphModule, NotPlain, check_graph, graph_of


class Small(nn.Module):
    """One of everything: a weight twice, a residual, a number on the left, dropout, a mean."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = self.norm(self.conv(x))
        y = F.relu(self.conv(x), inplace=True)
        y += x
        return self.drop(2 * self.pool(y)).mean(dim=(2, 3))


def small() -> Small:
    torch.manual_seed(0)
    network = Small()
    network(torch.randn(8, 3, 8, 8))  # statistics that are not 0 and 1
    return network


@torch.no_grad()
def test_a_graph_gives_the_networks_results():
    network, x = small(), torch.randn(2, 3, 8, 8)

    rebuilt = GraphModule(json.loads(json.dumps(graph_of(network))), network.state_dict())

    assert torch.equal(rebuilt.run(x), network.eval()(x))


@torch.no_grad()
@pytest.mark.parametrize("name", ["efficientnet_b0", "convnext_atto", "resnet26"])
def test_towers_of_other_families_are_plain_too(name):
    network = timm.create_model(name, num_classes=0, global_pool="").eval()
    x = torch.randn(1, 3, 64, 64)

    rebuilt = GraphModule(graph_of(network), network.state_dict())

    assert torch.allclose(rebuilt.run(x), network(x), atol=1e-5)


def test_tracing_leaves_the_network_in_training_mode():
    network = small().train()
    before = network.norm.running_mean.clone()

    graph_of(network)

    assert network.training
    assert torch.equal(network.norm.running_mean, before)


def test_the_last_steps_can_be_left_out():
    network, x = small().eval(), torch.randn(1, 3, 8, 8)
    rebuilt = GraphModule(graph_of(network), network.state_dict())

    assert rebuilt.run(x, steps=-1).shape == (1, 3, 4, 4)
    assert torch.equal(rebuilt.run(x, steps=-1).mean(dim=(2, 3)), rebuilt.run(x))


def test_only_the_weights_in_use_are_held():
    network = small()

    names = {
        name for name, _ in GraphModule(graph_of(network), network.state_dict()).named_parameters()
    }

    assert names == {
        *("conv/weight", "conv/bias", "norm/weight", "norm/bias"),
        *("norm/running_mean", "norm/running_var"),
    }


class Branches(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Sorts(nn.Module):
    def forward(self, x):
        return torch.sort(x)[0]


@pytest.mark.parametrize("network", [Branches(), Sorts()])
def test_what_is_not_plain_is_refused(network):
    with pytest.raises(NotPlain):
        graph_of(network)


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [["a", "save", ["pixels"], {}]],
        [["a", "relu", ["nothing"], {}]],
        [["a", "relu", ["a"], {}]],
        [["a", "relu", ["pixels"]]],
        ["relu"],
        [["a", "relu", "pixels", {}]],
    ],
)
def test_a_list_that_says_anything_else_is_refused(steps):
    with pytest.raises(NotPlain):
        check_graph(steps, {})

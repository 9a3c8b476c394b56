"""Costs by formula: against the tensors' own shapes, against loops, and against the known numbers of Mistral 7B."""

from dataclasses import replace
from math import prod

import numpy as np
import pytest

from minimistral import costs
from minimistral.config import MISTRAL_7B, Config
from minimistral.rolling_cache import RollingCache
from minimistral.weights import tensor_shapes
from minimistral.window import reach, window_mask

FULL = replace(MISTRAL_7B, window=None)
MHA = replace(FULL, n_kv_heads=32)
SMALL = Config(dim=24, n_layers=3, head_dim=10, hidden_dim=40, n_heads=6, n_kv_heads=2, vocab_size=61, window=5)
BANDWIDTH = 4.3e12  # bytes a second


@pytest.mark.parametrize("config", [MISTRAL_7B, SMALL, replace(SMALL, tied_embeddings=True)])
def test_parameters_are_what_the_tensors_hold(config):
    assert costs.parameters(config)["total"] == sum(prod(shape) for shape in tensor_shapes(config).values())


def test_parameters_of_mistral_7b():
    p = costs.parameters(MISTRAL_7B)
    assert p["total"] == 7_241_732_096
    assert p["attention"] == 32 * 41_943_040 and round(100 * p["attention"] / p["total"], 1) == 18.5
    assert p["feed_forward"] == 32 * 176_160_768 and round(100 * p["feed_forward"] / p["total"], 1) == 77.8
    assert p["feed_forward"] / p["attention"] == pytest.approx(4.2)
    assert p["norms"] == 266_240
    assert p["embedding"] == p["output"] == 131_072_000
    assert round(100 * (p["embedding"] + p["output"]) / p["total"], 1) == 3.6


def test_wrong_parameter_counts_are_those_of_known_mistakes():
    assert costs.parameters(replace(MISTRAL_7B, n_kv_heads=32))["total"] == 8_047_038_464
    assert costs.parameters(replace(MISTRAL_7B, tied_embeddings=True))["total"] == 7_110_660_096
    one_matrix_less = costs.parameters(MISTRAL_7B)["total"] - costs.parameters(MISTRAL_7B)["feed_forward"] // 3
    assert one_matrix_less == 5_362_683_904


def test_bytes_of_a_decoded_token():
    assert costs.weights_read(MISTRAL_7B) == 7_110_664_192
    assert costs.weights_read(replace(MISTRAL_7B, tied_embeddings=True)) == 7_110_664_192
    assert costs.decode_bytes(MISTRAL_7B, 0) / 1e9 == pytest.approx(14.221, abs=5e-4)
    assert costs.cache_bytes(MISTRAL_7B, 1) == 131_072
    assert costs.decode_bytes(MISTRAL_7B, 4096) / 1e9 == pytest.approx(14.758, abs=5e-4)
    assert costs.decode_bytes(MISTRAL_7B, 50_000) == costs.decode_bytes(MISTRAL_7B, 4096)
    assert costs.weight_flops(MISTRAL_7B) / costs.decode_bytes(MISTRAL_7B, 0) == pytest.approx(1, abs=5e-3)
    assert int(BANDWIDTH / costs.decode_bytes(MISTRAL_7B, 0)) == 302
    assert int(BANDWIDTH / costs.decode_bytes(MISTRAL_7B, 4096)) == 291


def test_flops_of_a_token():
    assert costs.weight_flops(MISTRAL_7B) / 1e9 == pytest.approx(14.2208, abs=5e-5)
    assert costs.key_flops(MISTRAL_7B) * 32 == 524_288
    attention = costs.decode_flops(MISTRAL_7B, 4096) - costs.weight_flops(MISTRAL_7B)
    assert attention == 2**31
    assert round(100 * attention / costs.weight_flops(MISTRAL_7B), 1) == 15.1


def test_where_attention_costs_as_much_as_the_weights():
    assert costs.equal_keys(MISTRAL_7B) == 27_124
    assert costs.decode_flops(FULL, 27_124) == 2 * costs.weight_flops(FULL)
    assert costs.equal_length(MISTRAL_7B) == 54_247
    assert costs.prefill_flops(FULL, 54_247) == 2 * 54_247 * costs.weight_flops(FULL)
    assert int(costs.equal_cache_length(MISTRAL_7B)) == 108_500
    assert int(2 * costs.weights_read(MISTRAL_7B) / costs.cache_bytes(MHA, 1)) == 27_125  # the same weights


def test_cache_at_32768_is_32_times_smaller():
    assert costs.cache_bytes(MHA, 32_768) == 16 * 2**30
    assert costs.cache_bytes(FULL, 32_768) == 4 * 2**30
    assert costs.cache_bytes(MISTRAL_7B, 32_768) == 512 * 2**20


@pytest.mark.parametrize("windows", [5, None, (5, None, 3)])
def test_cache_bytes_are_what_a_full_cache_holds(windows):
    config = replace(SMALL, window=windows)
    cache = RollingCache(config, np.dtype(np.float32))
    rows = [np.zeros((13, config.n_kv_heads, config.head_dim), np.float32)] * config.n_layers
    cache.write(rows, rows)
    held = sum(k.nbytes + v.nbytes for k, v, _ in (cache.read(i) for i in range(config.n_layers)))
    assert costs.cache_bytes(config, 13, bytes_per_value=4) == held


@pytest.mark.parametrize("length", [1, 4, 5, 6, 13])
@pytest.mark.parametrize("window", [1, 5, 6, None])
def test_pairs_are_those_of_the_mask(length, window):
    positions = np.arange(length)
    assert costs.attended_pairs(length, window) == window_mask(positions, positions, window).sum()


def test_pairs_of_the_paper():
    pairs = costs.attended_pairs
    assert (pairs(13, 5), pairs(13, 6), pairs(13)) == (55, 63, 91)
    assert (pairs(16_384), pairs(16_384, 4096), pairs(16_384, 4097)) == (134_225_920, 58_722_304, 58_734_592)
    for length, gain in [(8192, 1.333), (16_384, 2.286), (32_768, 4.267)]:
        assert pairs(length) / pairs(length, 4096) == pytest.approx(gain, abs=5e-4)


def test_the_window_speeds_up_a_whole_prefill_at_16k_by_15_percent_only():
    full, windowed = costs.prefill_flops(FULL, 16_384), costs.prefill_flops(MISTRAL_7B, 16_384)
    assert (round(full / 1e12, 1), round(windowed / 1e12, 1)) == (303.4, 263.8)
    assert full / windowed == pytest.approx(1.150, abs=5e-4)


def test_dense_blocks_compute_more_than_is_needed():
    computed = costs.computed_pairs
    need = costs.attended_pairs(16_384, 4096)
    assert [computed(16_384, 4096, chunk) for chunk in (4096, 1024, 256)] == [117_440_512, 73_400_320, 62_390_272]
    assert computed(16_384, 4096, 4096) / need == pytest.approx(2.00, abs=5e-3)
    assert computed(16_384, 4096, 1) - need == 16_384 - 4096  # the ring still holds the oldest, which is masked
    assert computed(16_384, 4096, 16_384) == 16_384**2  # a T x T mask saves none


def test_reach():
    assert reach(32, 4096) == 131_041
    assert reach(32, 4097) - 1 == 131_072  # W + 1 keys: so far back
    assert reach(2, 5) == 9

"""Which experts the reference implementation's routers choose, and how close the decision was."""

import torch

MARGIN = 1e-3


def gap(scores, k):
    """Distance between the k-th and the next score, over all tokens."""
    if k >= scores.shape[-1]:
        return float("inf")
    top = torch.topk(scores, k + 1, dim=-1).values
    return (top[:, k - 1] - top[:, k]).min().item()


def top(scores, k):
    return torch.topk(scores, k, dim=-1).indices, gap(scores, k)


def grouped(scores, k, n_group, topk_group, best_of, fill):
    """Experts within the best groups; the others' scores become `fill`."""
    groups = scores.view(scores.shape[0], n_group, -1)
    group_scores = groups.topk(best_of, dim=-1).values.sum(-1)
    kept = torch.topk(group_scores, topk_group, dim=-1).indices
    mask = torch.zeros_like(group_scores).scatter_(1, kept, 1).bool()
    masked = groups.masked_fill(~mask.unsqueeze(-1), fill).reshape(scores.shape)
    ids, distance = top(masked, k)
    return ids, min(distance, gap(group_scores, topk_group))


def mixer(logits, epsilon):
    ids, distance = [], float("inf")
    left = logits.clone()
    for _ in range(2):
        best = left.max(dim=-1, keepdim=True)
        ids.append(best.indices)
        distance = min(distance, gap(left, 1))
        factor = logits.abs().clamp(min=best.values)
        distance = min(distance, ((best.values - logits) / factor - 2 * epsilon).abs().min().item())
        left = left.scatter(1, best.indices, float("-inf"))
    return torch.cat(ids, dim=-1), distance


def find_routers(model):
    """{layer: (chosen ids, distance)}, filled as the model runs, and the hooks that fill it."""
    found, hooks = {}, []
    config = model.config
    kind = config.model_type

    def add(layer, module, decide):
        def after(m, args, out):
            x = args[0].detach()
            found[layer] = decide(m, x.reshape(-1, x.shape[-1]).float())
        hooks.append(module.register_forward_hook(after))

    def linear(module, x):
        return torch.nn.functional.linear(x, module.weight.float(), getattr(module, "bias", None))

    inner = getattr(model, "model", None) or model.transformer
    for layer, block in enumerate(inner.layers if hasattr(inner, "layers") else inner.blocks):
        ffn = next((getattr(block, n) for n in ("block_sparse_moe", "mlp", "feed_forward", "ffn")
                    if hasattr(block, n)), None)
        gate = getattr(ffn, "gate", None) or getattr(ffn, "router", None)
        if gate is None:
            continue
        if kind in ("deepseek_v3", "glm4_moe"):
            add(layer, gate, lambda m, x: grouped(
                linear(m, x).sigmoid() + m.e_score_correction_bias, config.num_experts_per_tok,
                config.n_group, config.topk_group, 2, 0.0))
        elif kind == "deepseek_v2":
            groups = config.topk_method == "group_limited_greedy"
            add(layer, gate, lambda m, x: grouped(
                linear(m, x).softmax(-1), config.num_experts_per_tok, config.n_group,
                config.topk_group, 1, 0.0) if groups else top(
                    linear(m, x).softmax(-1), config.num_experts_per_tok))
        elif kind == "ernie4_5_moe":
            bias = ffn.moe_statics.e_score_correction_bias
            add(layer, gate, lambda m, x, b=bias: top(
                linear(m, x).softmax(-1) + b.detach(), config.moe_k))
        elif kind == "phimoe":
            add(layer, gate, lambda m, x: mixer(linear(m, x), config.router_jitter_noise))
        elif kind == "hunyuan_v1_moe":
            k = config.moe_topk
            add(layer, gate.wg, lambda m, x, k=k if isinstance(k, int) else k[layer]: top(
                linear(m, x).softmax(-1), k))
        elif kind == "dbrx":
            add(layer, gate.layer, lambda m, x: top(
                linear(m, x).softmax(-1), config.ffn_config.moe_top_k))
        elif kind in ("gpt_oss", "llama4_text"):
            add(layer, gate, lambda m, x: top(linear(m, x), config.num_experts_per_tok))
        else:
            module = gate.layer if kind.startswith("granite") else gate
            add(layer, module, lambda m, x: top(linear(m, x).softmax(-1),
                                                config.num_experts_per_tok))
    return found, hooks

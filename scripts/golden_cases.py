"""The cases of make_model_goldens.py: for every architecture, each option that changes the maths.

Sizes are small, and different where the format allows it: a transposed or permuted matrix then
fails to load, or shows, instead of passing.
"""

import torch

BASE = dict(vocab_size=61, hidden_size=24, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, hidden_act="silu",
            pad_token_id=0, bos_token_id=1, eos_token_id=2, attention_dropout=0.0)
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16,
        "beta_fast": 32.0, "beta_slow": 1.0}
WAVES = {"rope_type": "llama3", "factor": 4.0, "original_max_position_embeddings": 16,
         "low_freq_factor": 1.0, "high_freq_factor": 4.0}
CASES = {}
OPTIONS = ("stored", "shards", "extra", "prefix", "edit", "bias_range", "spread")


def case(name, config, model, batch, length, gradients=False, **settings):
    kwargs = {k: v for k, v in settings.items() if k not in OPTIONS}
    CASES[name] = dict({k: v for k, v in settings.items() if k in OPTIONS}, config=config,
                       model=model, batch=batch, length=length, gradients=gradients, kwargs=kwargs)


# The first four are older than this list and stay as they are: vocabulary 97, width 32.
OLD = dict(BASE, vocab_size=97, hidden_size=32, max_position_embeddings=128)
MIXTRAL = dict(OLD, intermediate_size=48, num_local_experts=8, num_experts_per_tok=2,
               router_jitter_noise=0.0, rope_theta=1e4, sliding_window=None)
case("mixtral", "MixtralConfig", "MixtralForCausalLM", 2, 24, True, **MIXTRAL)
case("mixtral_window", "MixtralConfig", "MixtralForCausalLM", 1, 40, True,
     **dict(MIXTRAL, sliding_window=8, num_experts_per_tok=3, rope_theta=1e6))
case("mixtral_heads", "MixtralConfig", "MixtralForCausalLM", 2, 19, True,
     **dict(MIXTRAL, head_dim=10, num_attention_heads=6, num_key_value_heads=3, hidden_size=36,
            intermediate_size=20, num_local_experts=5, num_experts_per_tok=1,
            tie_word_embeddings=True))
case("llama", "LlamaConfig", "LlamaForCausalLM", 2, 17, True,
     **dict(OLD, intermediate_size=56, num_key_value_heads=4, rms_norm_eps=1e-5))
case("llama_scaled", "LlamaConfig", "LlamaForCausalLM", 1, 40, stored="f16",
     **dict(BASE, intermediate_size=30, attention_bias=True, rope_scaling=WAVES))

OLMOE = dict(BASE, intermediate_size=10, num_experts=6, num_experts_per_tok=3, clip_qkv=None)
case("olmoe", "OlmoeConfig", "OlmoeForCausalLM", 2, 18, norm_topk_prob=False, **OLMOE)
case("olmoe_clip", "OlmoeConfig", "OlmoeForCausalLM", 2, 18,
     **dict(OLMOE, clip_qkv=0.5, norm_topk_prob=True, attention_bias=True,
            tie_word_embeddings=True, rope_scaling={"rope_type": "linear", "factor": 2.0}))

QWEN2 = dict(BASE, intermediate_size=20, moe_intermediate_size=10, num_experts=6,
             shared_expert_intermediate_size=14, num_experts_per_tok=3)
case("qwen2_moe", "Qwen2MoeConfig", "Qwen2MoeForCausalLM", 2, 18,
     **dict(QWEN2, num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=[3],
            norm_topk_prob=False))
case("qwen2_moe_window", "Qwen2MoeConfig", "Qwen2MoeForCausalLM", 1, 40,
     **dict(QWEN2, norm_topk_prob=True, qkv_bias=False, use_sliding_window=True, sliding_window=8,
            max_window_layers=1, rope_scaling=YARN, rope_theta=1e6))
QWEN3 = dict(BASE, intermediate_size=20, moe_intermediate_size=10, num_experts=8,
             num_experts_per_tok=3, head_dim=10)
case("qwen3_moe", "Qwen3MoeConfig", "Qwen3MoeForCausalLM", 2, 18,
     **dict(QWEN3, num_hidden_layers=3, norm_topk_prob=True, mlp_only_layers=[0]))
case("qwen3_moe_shards", "Qwen3MoeConfig", "Qwen3MoeForCausalLM", 1, 30, stored="bf16",
     shards="20KB", **dict(QWEN3, norm_topk_prob=False, attention_bias=True,
                           use_sliding_window=True, sliding_window=8, tie_word_embeddings=True))
case("qwen2", "Qwen2Config", "Qwen2ForCausalLM", 1, 30,
     **dict(BASE, num_hidden_layers=3, intermediate_size=30, use_sliding_window=True,
            sliding_window=6, max_window_layers=1, tie_word_embeddings=True))
case("qwen3", "Qwen3Config", "Qwen3ForCausalLM", 2, 18,
     **dict(BASE, intermediate_size=30, head_dim=10, attention_bias=True))


def rope_parameters(config):
    """The spelling of newer files."""
    rope = dict(config.pop("rope_scaling", None) or {"rope_type": "default"})
    rope["rope_theta"] = config.pop("rope_theta")
    if "partial_rotary_factor" in config:
        rope["partial_rotary_factor"] = config.pop("partial_rotary_factor")
    return dict(config, rope_parameters=rope)


LATENT = dict(BASE, num_key_value_heads=4, intermediate_size=30, moe_intermediate_size=10,
              kv_lora_rank=14, qk_nope_head_dim=6, qk_rope_head_dim=8, v_head_dim=10,
              num_experts_per_tok=3, first_k_dense_replace=1)
V2 = dict(LATENT, n_routed_experts=8, n_shared_experts=2)
case("deepseek_v2", "DeepseekV2Config", "DeepseekV2ForCausalLM", 2, 18,
     **dict(V2, q_lora_rank=None, topk_method="greedy", routed_scaling_factor=1.0))
case("deepseek_v2_groups", "DeepseekV2Config", "DeepseekV2ForCausalLM", 1, 40,
     **dict(V2, q_lora_rank=12, attention_bias=True, topk_method="group_limited_greedy",
            n_group=4, topk_group=2, routed_scaling_factor=4.0, tie_word_embeddings=True,
            rope_scaling=dict(YARN, mscale=0.707, mscale_all_dim=0.5)))
V3 = dict(LATENT, n_routed_experts=16, n_shared_experts=1, n_group=4, topk_group=2, q_lora_rank=12,
          norm_topk_prob=True, routed_scaling_factor=2.5)
case("deepseek_v3", "DeepseekV3Config", "DeepseekV3ForCausalLM", 2, 18,
     extra={"model.layers.2.enorm.weight": [24], "model.layers.2.eh_proj.weight": [24, 48],
            "model.layers.2.self_attn.q_a_proj.weight": [3, 3]}, **V3)
case("deepseek_v3_yarn", "DeepseekV3Config", "DeepseekV3ForCausalLM", 1, 40, edit=rope_parameters,
     **dict(V3, rope_interleave=False, norm_topk_prob=False, q_lora_rank=None,
            attention_bias=True, n_shared_experts=2,
            rope_scaling=dict(YARN, mscale=1.0, mscale_all_dim=0.7)))
case("deepseek_v3_negative", "DeepseekV3Config", "DeepseekV3ForCausalLM", 2, 18,
     bias_range=(-1.1, -0.4), **V3)
case("deepseek_v3_all", "DeepseekV3Config", "DeepseekV3ForCausalLM", 1, 12,
     **dict(V3, n_routed_experts=8, n_group=2, topk_group=1, num_experts_per_tok=8))
case("deepseek_v3_fp8", "DeepseekV3Config", "DeepseekV3ForCausalLM", 1, 20, stored="fp8",
     edit=lambda c: dict(c, quantization_config={
         "activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
         "weight_block_size": [128, 128]}),
     **dict(V3, n_routed_experts=4, n_group=1, topk_group=1, num_experts_per_tok=2,
            intermediate_size=140, qk_nope_head_dim=20, v_head_dim=18))
case("deepseek_v3_odd", "DeepseekV3Config", "DeepseekV3ForCausalLM", 1, 20, stored="bf16",
     shards="30KB", bias_range=(-0.05, 0.05),
     **dict(V3, n_group=8, topk_group=3, kv_lora_rank=33, v_head_dim=7, qk_nope_head_dim=5))
case("kimi_k2", "DeepseekV3Config", "DeepseekV3ForCausalLM", 2, 18,
     edit=lambda c: dict(c, model_type="kimi_k2", aux_loss_alpha=0.001, ep_size=1,
                         moe_layer_freq=1, seq_aux=True, scoring_func="sigmoid",
                         topk_method="noaux_tc", num_nextn_predict_layers=0),
     **dict(V3, n_routed_experts=12, n_group=1, topk_group=1, num_experts_per_tok=4,
            routed_scaling_factor=2.827, rope_theta=50000.0))

OSS = dict(BASE, intermediate_size=10, head_dim=12, num_local_experts=6, num_experts_per_tok=3,
           sliding_window=8, rope_theta=150000.0, rope_scaling=dict(YARN, truncate=False))
WIDE = {"gate_up_proj": 1.0, "gate_up_proj_bias": 2.0}
case("gpt_oss", "GptOssConfig", "GptOssForCausalLM", 1, 40, spread=WIDE, **OSS)
case("gpt_oss_mxfp4", "GptOssConfig", "GptOssForCausalLM", 1, 30, stored="mxfp4", spread=WIDE,
     edit=lambda c: dict(c, experts_per_token=2, swiglu_limit=7.0, initial_context_length=16,
                         quantization_config={"quant_method": "mxfp4",
                                              "modules_to_not_convert": ["lm_head"]}),
     **dict(OSS, hidden_size=32, intermediate_size=64, num_local_experts=3, num_experts_per_tok=2,
            num_hidden_layers=3, rope_scaling=None,
            layer_types=["full_attention", "sliding_attention", "sliding_attention"]))

GRANITE = dict(BASE, intermediate_size=10, num_local_experts=6, num_experts_per_tok=3,
               embedding_multiplier=12.0, logits_scaling=6.0, residual_multiplier=0.22,
               attention_multiplier=0.125)
case("granitemoe", "GraniteMoeConfig", "GraniteMoeForCausalLM", 2, 18, **GRANITE)
case("granitemoe_nope", "GraniteMoeConfig", "GraniteMoeForCausalLM", 2, 18,
     **dict(GRANITE, attention_bias=True, tie_word_embeddings=True, residual_multiplier=0.7,
            position_embedding_type="nope"))
case("granitemoeshared", "GraniteMoeSharedConfig", "GraniteMoeSharedForCausalLM", 2, 18,
     **dict(GRANITE, shared_intermediate_size=14, tie_word_embeddings=True))
case("granitemoeshared_none", "GraniteMoeSharedConfig", "GraniteMoeSharedForCausalLM", 1, 18,
     stored="f16", **dict(GRANITE, shared_intermediate_size=0, rope_scaling=WAVES))

PHI = dict(BASE, intermediate_size=10, num_local_experts=6, num_experts_per_tok=2,
           router_jitter_noise=0.01, input_jitter_noise=0.0)
LONG = {"type": "longrope", "short_factor": [1.0, 1.25, 2.0], "long_factor": [1.5, 3.0, 7.0],
        "short_mscale": 1.1, "long_mscale": 1.2, "original_max_position_embeddings": 20}
case("phimoe", "PhimoeConfig", "PhimoeForCausalLM", 2, 18, attention_bias=True,
     lm_head_bias=True, **PHI)
case("phimoe_short", "PhimoeConfig", "PhimoeForCausalLM", 2, 19, rope_scaling=LONG, **PHI)
case("phimoe_long", "PhimoeConfig", "PhimoeForCausalLM", 1, 40, rope_scaling=LONG,
     **dict(PHI, router_jitter_noise=0.3, sliding_window=12, tie_word_embeddings=True))

GLM = dict(BASE, intermediate_size=30, moe_intermediate_size=10, n_routed_experts=8,
           n_shared_experts=1, num_experts_per_tok=3, head_dim=12, partial_rotary_factor=0.5,
           first_k_dense_replace=1)
case("glm4_moe", "Glm4MoeConfig", "Glm4MoeForCausalLM", 2, 18, True, **GLM)
case("glm4_moe_bias", "Glm4MoeConfig", "Glm4MoeForCausalLM", 2, 18, edit=rope_parameters,
     extra={"model.layers.2.shared_head.head.weight": [61, 24]},
     **dict(GLM, attention_bias=True, use_qk_norm=True, n_group=2, topk_group=1, head_dim=8,
            partial_rotary_factor=0.25, routed_scaling_factor=1.5, n_shared_experts=2,
            norm_topk_prob=False, tie_word_embeddings=True))

LLAMA4 = dict(BASE, num_hidden_layers=4, intermediate_size=10, intermediate_size_mlp=30, head_dim=8,
              num_local_experts=4, attention_chunk_size=8, floor_scale=8, attn_scale=0.1,
              no_rope_layers=[1, 1, 1, 0])
case("llama4", "Llama4TextConfig", "Llama4ForCausalLM", 1, 30, num_experts_per_tok=1,
     interleave_moe_layer_step=1, use_qk_norm=True, **LLAMA4)
case("llama4_step", "Llama4TextConfig", "Llama4ForCausalLM", 1, 30, num_experts_per_tok=2,
     interleave_moe_layer_step=2, use_qk_norm=False, rope_scaling=WAVES, **LLAMA4)
case("llama4_wrapped", "Llama4TextConfig", "Llama4ForCausalLM", 2, 20, num_experts_per_tok=1,
     prefix="language_model.", extra={"vision_model.patch.weight": [3, 5],
                                      "multi_modal_projector.linear_1.weight": [2, 2]},
     edit=lambda c: {"model_type": "llama4", "architectures": ["Llama4ForConditionalGeneration"],
                     "boi_token_index": 5, "eoi_token_index": 6, "image_token_index": 7,
                     "text_config": c, "vision_config": {"model_type": "llama4_vision_model"}},
     **dict(LLAMA4, num_hidden_layers=2, no_rope_layers=[0, 1], attn_temperature_tuning=False,
            moe_layers=[0]))

DBRX = dict(d_model=24, n_heads=4, n_layers=2, max_seq_len=64, vocab_size=61, pad_token_id=0,
            bos_token_id=1, eos_token_id=2)


def dbrx(norm, clip, k):
    return dict(DBRX, attn_config={"kv_n_heads": 2, "clip_qkv": clip, "rope_theta": 1e4},
                ffn_config={"ffn_hidden_size": 10, "moe_num_experts": 6, "moe_top_k": k,
                            "moe_normalize_expert_weights": norm, "moe_jitter_eps": 0.0,
                            "ffn_act_fn": {"name": "silu"}})


case("dbrx", "DbrxConfig", "DbrxForCausalLM", 2, 18, **dbrx(1.0, 1.0, 3))
case("dbrx_norm2", "DbrxConfig", "DbrxForCausalLM", 2, 18, **dbrx(2.0, 8.0, 3))
case("dbrx_raw", "DbrxConfig", "DbrxForCausalLM", 1, 18, **dbrx(None, 0.7, 2))

ERNIE = dict(BASE, intermediate_size=30, moe_intermediate_size=10, moe_num_experts=6, moe_k=3,
             moe_num_shared_experts=2, moe_layer_start_index=1, moe_layer_interval=1)
del ERNIE["attention_dropout"]
case("ernie4_5_moe", "Ernie4_5_MoeConfig", "Ernie4_5_MoeForCausalLM", 2, 18, True,
     bias_range=(-0.1, 0.1), **ERNIE)
case("ernie4_5_moe_bias", "Ernie4_5_MoeConfig", "Ernie4_5_MoeForCausalLM", 2, 18,
     bias_range=(-0.1, 0.1), extra={"model.mtp_block.0.input_layernorm.weight": [24]},
     **dict(ERNIE, num_hidden_layers=4, use_bias=True, tie_word_embeddings=False,
            moe_layer_interval=2, moe_num_shared_experts=0, moe_norm_min=0.2))

HUNYUAN = dict(BASE, intermediate_size=10, head_dim=8, num_experts=6, moe_topk=3)
case("hunyuan_v1_moe", "HunYuanMoEV1Config", "HunYuanMoEV1ForCausalLM", 2, 18, **HUNYUAN)
case("hunyuan_v1_moe_alpha", "HunYuanMoEV1Config", "HunYuanMoEV1ForCausalLM", 2, 18,
     **dict(HUNYUAN, attention_bias=True, num_experts=[6, 4], moe_topk=[3, 2],
            tie_word_embeddings=True,
            rope_scaling={"type": "dynamic", "alpha": 1000.0, "factor": 1.0}))


def store_fp8(model):
    """Linear maps of attention and FFN in F8_E4M3 with a factor for every block of 128 x 128."""
    stored = {}
    for name, tensor in model.state_dict().items():
        is_linear = tensor.dim() == 2 and ("self_attn" in name or "mlp." in name)
        if not is_linear or name.endswith("gate.weight"):
            stored[name] = tensor.clone()
            continue
        rows, cols = tensor.shape
        scales = torch.zeros((rows + 127) // 128, (cols + 127) // 128)
        values = torch.zeros(rows, cols, dtype=torch.float8_e4m3fn)
        for r in range(scales.shape[0]):
            for c in range(scales.shape[1]):
                at = (slice(128 * r, 128 * r + 128), slice(128 * c, 128 * c + 128))
                scales[r, c] = tensor[at].abs().max() / 448
                values[at] = (tensor[at] / scales[r, c]).to(torch.float8_e4m3fn)
                tensor[at] = values[at].float() * scales[r, c]
        stored[name] = values
        stored[name + "_scale_inv"] = scales
    return stored


FOUR_BITS = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def store_mxfp4(model):
    """Experts as [E, out, in / 32, 16] of nibble pairs (low first) with a power of two a block."""
    stored = {}
    for name, tensor in model.state_dict().items():
        if not name.endswith(("gate_up_proj", "down_proj")):
            stored[name] = tensor.clone()
            continue
        rows = tensor.transpose(1, 2)
        blocks = rows.reshape(*rows.shape[:2], -1, 32)
        exponent = torch.floor(torch.log2(blocks.abs().amax(-1))) - 2
        scaled = blocks / torch.exp2(exponent).unsqueeze(-1)
        nibbles = (scaled.unsqueeze(-1) - FOUR_BITS).abs().argmin(-1)
        pairs = nibbles.reshape(*nibbles.shape[:-1], 16, 2)
        stored[name + "_blocks"] = (pairs[..., 0] + 16 * pairs[..., 1]).to(torch.uint8)
        stored[name + "_scales"] = (exponent + 127).to(torch.uint8)
        exact = FOUR_BITS[nibbles] * torch.exp2(exponent).unsqueeze(-1)
        tensor.copy_(exact.reshape(rows.shape).transpose(1, 2))
    return stored


POSTPROCESS = {"fp8": store_fp8, "mxfp4": store_mxfp4}

// Router weights that give every expert of a synthetic model a chosen share of the tokens.
//
// The hidden state of every token is made to hold the same number in element 0 (kBiasElement times
// its root mean square), so a router row's element 0 is a bias; its other elements are random and
// make tokens choose differently. The biases are found by routing random tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace conclave {

inline constexpr float kBiasElement = 4;

// Shares of the tokens by layer and expert, [L][E], each layer's sum 1, from a file of counts like
//   {"models": {NAME: {"experts": E, "counts": {DOMAIN: [[...], ...]}}}}
// whose rows are of layers spread evenly. Where no model has that many experts, the shares of the
// one with most are resampled. Throws Error(kBadFile).
std::vector<std::vector<double>> read_loads(const std::string& path, const std::string& domain,
                                            int n_layers, int n_experts);

// Element 0 of each expert's router row, for rows whose products with a token are otherwise drawn
// from a normal distribution of variance 1: those with which top-k routing gives `shares`.
std::vector<float> router_biases(const std::vector<double>& shares, int k);

}  // namespace conclave

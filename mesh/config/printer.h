#ifndef MESH_CONFIG_PRINTER_H_
#define MESH_CONFIG_PRINTER_H_

#include <string>
#include <vector>

#include "mesh/v1/config.pb.h"

// A configuration as text.

namespace mesh::config {

// `config` as YAML that reads back to the same configuration: what is in it and
// nothing more, in the order of the schema, maps by key. Strings must be UTF-8.
std::string ToYaml(const v1::Config& config);

// What differs between two configurations, one setting a line:
// "services.cart.policy.timeout: 1s -> 2s". What one of them does not have is
// "(absent)"; what only one has of a whole group is "(given)". Endpoints are
// compared by their addresses, in whatever order. What is only written in
// another way is no difference. The configurations must be good.
std::vector<std::string> Differences(const v1::Config& from,
                                     const v1::Config& to);

}  // namespace mesh::config

#endif  // MESH_CONFIG_PRINTER_H_

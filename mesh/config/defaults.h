#ifndef MESH_CONFIG_DEFAULTS_H_
#define MESH_CONFIG_DEFAULTS_H_

#include <string>

#include "mesh/v1/config.pb.h"

namespace mesh::config {

// A valid `config` with every default that acts, as the Rules of the schema
// have it, and with its files as absolute paths. It means the same as `config`
// did. `file` is the file that `config` was read from; empty: relative paths
// are relative to the working directory.
//
// The policies of single methods are left as they are, for what is absent there
// comes from the wider ones. So are retries and hedging in the policy of a
// service with a gRPC service config, which stands behind them.
v1::Config WithDefaults(const v1::Config& config, const std::string& file);

}  // namespace mesh::config

#endif  // MESH_CONFIG_DEFAULTS_H_

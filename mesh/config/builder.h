#ifndef MESH_CONFIG_BUILDER_H_
#define MESH_CONFIG_BUILDER_H_

#include <string>
#include <vector>

#include "mesh/base/file.h"
#include "mesh/cluster/endpoint.h"
#include "mesh/config/problems.h"
#include "mesh/config/reader.h"
#include "mesh/options/service.h"
#include "mesh/v1/config.pb.h"

// From the schema's messages to options: every check that looks at more than
// one value, every default, and the order in which policies override each
// other.

namespace mesh::config {

// What a build reads from and writes to.
struct BuildContext {
  std::string file;   // Relative paths are relative to its directory.
  SourceMap sources;  // Empty for a configuration built in code.
  Problems problems;  // Everything that is wrong is added.
  std::vector<base::FileState> files;  // Every file that was read is added.
  // What an operator should know and what forbids nothing.
  Problems warnings;
};

// The :authority of the calls of the service `name`, also where it is not
// configured.
std::string AuthorityOf(const std::string& name, const v1::Service& service);

// The result means nothing if `context` has problems afterwards.
options::MeshOptions BuildOptions(const v1::Config& config,
                                  BuildContext* context);

// The same for the endpoints of an endpoints file.
cluster::EndpointSetPtr BuildEndpoints(const v1::EndpointList& list,
                                       BuildContext* context);

}  // namespace mesh::config

#endif  // MESH_CONFIG_BUILDER_H_

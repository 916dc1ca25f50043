#ifndef MESH_CONFIG_TARGET_TEXT_H_
#define MESH_CONFIG_TARGET_TEXT_H_

#include <map>
#include <string>

namespace mesh::config {

// The configuration that services without any have, as YAML with every default:
// `targets` (see ParseTarget()) by the service's name. What no configuration
// can say, and what is no target, stands there as a comment.
std::string TextOfTargets(const std::map<std::string, std::string>& targets);

}  // namespace mesh::config

#endif  // MESH_CONFIG_TARGET_TEXT_H_

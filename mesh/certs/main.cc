// mesh-certs COMMAND ...: see program.h, or mesh-certs --help.

#include <iostream>
#include <string>
#include <vector>

#include "mesh/base/clock.h"
#include "mesh/certs/program.h"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const int code =
      mesh::certs::Run(arguments, mesh::base::WallTime(), std::cout, std::cerr);
  // Nobody must take half of an answer for all of it.
  return std::cout.flush() ? code : 1;
}

#ifndef GLIMPSE_SERVER_WITH_PORT_H_
#define GLIMPSE_SERVER_WITH_PORT_H_

#include <string>

#include "absl/strings/str_cat.h"

namespace glimpse {

// "host:0" -> "host:port"
inline std::string WithPort(const std::string& listen, int port) {
  return absl::StrCat(listen.substr(0, listen.rfind(':')), ":", port);
}

}  // namespace glimpse

#endif  // GLIMPSE_SERVER_WITH_PORT_H_

packer {
  required_version = ">= 1.9.0"

  required_plugins {
    amazon = {
      # 1.2.0 brought imds_support of images, 1.3.0 include_deprecated.
      version = ">= 1.3.0, < 2.0.0"
      source  = "github.com/hashicorp/amazon"
    }
  }
}

# Given by -var, by a .pkrvars.hcl file (make ami VARS=FILE), or in the
# environment as PKR_VAR_NAME. packer/build.sh sets those without a default.

variable "region" {
  type        = string
  description = "Region to build in."
  validation {
    condition     = var.region != "" && regex_replace(var.region, "^[a-z]{2,4}(-[a-z]+)+-[0-9]+$", "") == ""
    error_message = "The region is one such as eu-west-1."
  }
}

variable "package" {
  type        = string
  description = "RPM of ecsnode for the architecture that is built."
  validation {
    condition     = var.package != "" && regex_replace(var.package, "^.*\\.(x86_64|aarch64)\\.rpm$", "") == ""
    error_message = "The package is a file such as dist/ecsnode-1.2.3-1.x86_64.rpm."
  }
}

variable "ecsnode_version" {
  type        = string
  description = "Version of that package, version-release."
  validation {
    condition     = var.ecsnode_version != "" && regex_replace(var.ecsnode_version, "^[0-9]+\\.[0-9]+\\.[0-9]+[A-Za-z0-9.~]*-[A-Za-z0-9.]+$", "") == ""
    error_message = "The version is one such as 1.2.3-1."
  }
}

variable "timestamp" {
  type        = string
  description = "When the image is built, in its name: 20260102T150405Z."
  validation {
    condition     = var.timestamp != "" && regex_replace(var.timestamp, "^[0-9]{8}T[0-9]{6}Z$", "") == ""
    error_message = "The timestamp is one such as 20260102T150405Z."
  }
}

variable "name_prefix" {
  type        = string
  description = "What names of images begin with."
  default     = "ecsnode-al2023"
  validation {
    condition     = var.name_prefix != "" && regex_replace(var.name_prefix, "^[A-Za-z0-9][A-Za-z0-9._-]{2,63}$", "") == ""
    error_message = "The prefix is 3 to 64 letters, digits, dots, hyphens and underscores."
  }
}

variable "files" {
  type        = string
  description = "Directory that is laid over the root of the image: etc/ecsnode/ecsnode.yaml, conf.d, templates, public keys, a first bundle."
  default     = ""
}

# ---- what is built upon ----------------------------------------------------

variable "source_ami" {
  type        = string
  description = "Image to build upon; empty: the newest ECS-optimized one."
  default     = ""
  validation {
    condition     = regex_replace(var.source_ami, "^(ami-[0-9a-f]{8,17})?$", "") == ""
    error_message = "The source image is one such as ami-0123456789abcdef0, or empty."
  }
}

variable "source_owners" {
  type        = list(string)
  description = "Whose image is built upon where source_ami is empty."
  default     = ["amazon"]
  validation {
    condition     = length(var.source_owners) > 0
    error_message = "Anybody may give an image any name: name an owner."
  }
}

variable "agent_version" {
  type        = string
  description = "Version of ecs-init that the source image must have, such as 1.108.2; empty: any."
  default     = ""
}

variable "docker_version" {
  type        = string
  description = "Version of Docker that the source image must have, such as 25.0.18; empty: any."
  default     = ""
}

# ---- the instance it is built on -------------------------------------------

variable "instance_types" {
  type        = map(string)
  description = "Instance type by architecture."
  default     = { x86_64 = "t3.small", arm64 = "t4g.small" }
}

variable "instance_profile" {
  type        = string
  description = "Instance profile of the build instance, where SSH goes through Session Manager; it must allow nothing of ECS. Empty: none."
  default     = ""
}

variable "subnet_id" {
  type        = string
  description = "Subnet of the build instance; empty: one of the default VPC."
  default     = ""
  validation {
    condition     = regex_replace(var.subnet_id, "^(subnet-[0-9a-f]{8,17})?$", "") == ""
    error_message = "The subnet is one such as subnet-0123456789abcdef0, or empty."
  }
}

variable "ssh_interface" {
  type        = string
  description = "How the build instance is reached: public_ip, private_ip, public_dns, private_dns or session_manager; empty: as Packer finds it."
  default     = ""
  validation {
    condition     = contains(["", "public_ip", "private_ip", "public_dns", "private_dns", "session_manager"], var.ssh_interface)
    error_message = "Public_ip, private_ip, public_dns, private_dns, session_manager or empty."
  }
}

variable "ssh_host" {
  type        = string
  description = "Host to reach by SSH instead of the build instance; for tests."
  default     = ""
}

variable "ssh_port" {
  type        = number
  description = "Port of SSH."
  default     = 22
}

variable "ec2_endpoint" {
  type        = string
  description = "URL of the EC2 API; empty: that of AWS. For tests."
  default     = ""
}

variable "ssh_cidrs" {
  type        = list(string)
  description = "Where SSH to the build instance may come from; empty: the public address of this machine."
  default     = []
}

variable "root_volume_gb" {
  type        = number
  description = "Size of the root volume, not below that of the source image."
  default     = 30
  validation {
    condition     = var.root_volume_gb >= 30 && var.root_volume_gb <= 16384
    error_message = "The root volume has 30 to 16384 GB."
  }
}

# ---- who gets it -----------------------------------------------------------

variable "kms_key_id" {
  type        = string
  description = "Key that the image is encrypted with; empty: the account's own for EBS, with which it cannot be shared."
  default     = ""
}

variable "copy_to" {
  type        = map(string)
  description = "Regions to copy to, with the key to encrypt with there; an empty key is the account's own for EBS."
  default     = {}
}

variable "share_with" {
  type        = list(string)
  description = "Accounts that may use the image. It is shared once every copy is done."
  default     = []
  validation {
    condition     = regex_replace(join(",", var.share_with), "^([0-9]{12}(,|$))*$", "") == ""
    error_message = "An account has 12 digits."
  }
}

variable "tags" {
  type        = map(string)
  description = "Tags of your own for image and snapshots."
  default     = {}
}

variable "manifest" {
  type        = string
  description = "File that names the images, written once all is done."
  default     = "dist/ami-manifest.json"
}

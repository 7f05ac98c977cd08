# An ECS-optimized image of Amazon Linux 2023 with ecsnode in it. Amazon Linux 2 is
# left out: it is past its end of life.

locals {
  version_tags = {
    "ecsnode:version"        = var.ecsnode_version
    "ecsnode:agent-version"  = var.agent_version == "" ? "as in the source image" : var.agent_version
    "ecsnode:docker-version" = var.docker_version == "" ? "as in the source image" : var.docker_version
  }
  # Packer fills these in once it knows the source image.
  source_tags = {
    "ecsnode:source-ami"      = "{{ .SourceAMI }}"
    "ecsnode:source-ami-name" = "{{ .SourceAMIName }}"
  }
  tags    = merge(local.version_tags, local.source_tags, var.tags)
  scripts = [for script in sort(fileset("${path.root}/scripts", "[0-9]*.sh")) : "${path.root}/scripts/${script}"]
}

source "amazon-ebs" "al2023" {
  region              = var.region
  custom_endpoint_ec2 = var.ec2_endpoint
  ami_description     = "Amazon ECS container instance with ecsnode ${var.ecsnode_version}, of {{ .SourceAMIName }}"
  source_ami          = var.source_ami

  # Instance metadata asks for a token, and answers two hops away, on the build
  # instance and on every instance of the image.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 2
  }
  imds_support = "v2.0"

  # The build instance never becomes a node: it has no role that ECS would
  # know, and its user data keeps the ECS agent and ecsnode from starting.
  iam_instance_profile        = var.instance_profile
  user_data_file              = "${path.root}/user-data"
  shutdown_behavior           = "terminate"
  subnet_id                   = var.subnet_id
  associate_public_ip_address = contains(["", "public_ip", "public_dns"], var.ssh_interface)

  ssh_username              = "ec2-user"
  ssh_interface             = var.ssh_interface
  ssh_host                  = var.ssh_host
  ssh_port                  = var.ssh_port
  ssh_clear_authorized_keys = false # the seal does

  temporary_security_group_source_public_ip = length(var.ssh_cidrs) == 0
  temporary_security_group_source_cidrs     = var.ssh_cidrs

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    volume_size           = var.root_volume_gb
    iops                  = 3000
    throughput            = 125
    encrypted             = true
    kms_key_id            = var.kms_key_id
    delete_on_termination = true
  }
  encrypt_boot       = true
  kms_key_id         = var.kms_key_id
  ami_regions        = keys(var.copy_to)
  region_kms_key_ids = var.copy_to
  ami_users          = var.share_with
  snapshot_users     = var.share_with

  tags          = local.tags
  snapshot_tags = local.tags
  run_tags      = merge(var.tags, { Name = "packer: ${var.name_prefix}" })
}

build {
  name = "ecsnode"

  source "amazon-ebs.al2023" {
    name          = "x86_64"
    ami_name      = "${var.name_prefix}-x86_64-${var.timestamp}"
    instance_type = var.instance_types["x86_64"]
    dynamic "source_ami_filter" {
      for_each = var.source_ami == "" ? ["al2023-ami-ecs-hvm-2023.0.*-kernel-6.1-x86_64"] : []
      content {
        filters            = { name = source_ami_filter.value, architecture = "x86_64", virtualization-type = "hvm", root-device-type = "ebs" }
        owners             = var.source_owners
        most_recent        = true
        include_deprecated = false
      }
    }
  }

  source "amazon-ebs.al2023" {
    name          = "arm64"
    ami_name      = "${var.name_prefix}-arm64-${var.timestamp}"
    instance_type = var.instance_types["arm64"]
    dynamic "source_ami_filter" {
      for_each = var.source_ami == "" ? ["al2023-ami-ecs-hvm-2023.0.*-kernel-6.1-arm64"] : []
      content {
        filters            = { name = source_ami_filter.value, architecture = "arm64", virtualization-type = "hvm", root-device-type = "ebs" }
        owners             = var.source_owners
        most_recent        = true
        include_deprecated = false
      }
    }
  }

  provisioner "shell" {
    inline = ["mkdir -p /tmp/ecsnode-image/files"]
  }

  provisioner "file" {
    source      = var.package
    destination = "/tmp/ecsnode-image/ecsnode.rpm"
  }

  # An empty directory, where no files are given, lays down nothing.
  provisioner "file" {
    source      = var.files == "" ? "${path.root}/files/" : "${trimsuffix(var.files, "/")}/"
    destination = "/tmp/ecsnode-image/files"
  }

  # One after the other, the seal last. Each can be run again, and one that fails
  # ends the build: the instance is terminated and there is no image.
  provisioner "shell" {
    scripts         = local.scripts
    execute_command = "chmod +x '{{ .Path }}'; sudo env {{ .Vars }} '{{ .Path }}'"
    environment_vars = [
      "IMAGE_ARCH=${source.name}",
      "IMAGE_AGENT_VERSION=${var.agent_version}",
      "IMAGE_DOCKER_VERSION=${var.docker_version}",
    ]
  }

  post-processor "manifest" {
    output     = var.manifest
    strip_path = true
    custom_data = {
      ecsnode_version = var.ecsnode_version
      agent_version   = var.agent_version
      docker_version  = var.docker_version
    }
  }
}

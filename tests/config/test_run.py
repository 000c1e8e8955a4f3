import pytest
import yaml
from tiny_runs import write_labels_run, write_masks_run

from lsr_ext.config import load_config


def test_defaults_follow_what_trains(tmp_path):
    config = load_config(write_masks_run(tmp_path))
    assert (config.loss.form, config.loss.variance) == ("marginal", 16)
    assert config.data.root == tmp_path
    assert config.training.optimizer.params == {"lr": 1e-3, "alpha": 0.9}


@pytest.mark.parametrize(
    ("pixel", "weights"),
    [({}, [1, 0.5, 0]), ({"weight": 4}, [4, 2, 0]), ({"weight": 4, "final_weight": None}, [4, 4, 4])],
)
def test_pixel_labels_fade_out_unless_kept(tmp_path, pixel, weights):
    terms = load_config(write_masks_run(tmp_path, joint={"pixel": pixel})).joint
    assert [terms.pixel.at(step, 3) for step in range(3)] == weights
    assert [terms.super_resolution.at(step, 3) for step in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"trainign": {}}, r"run\.yaml: trainign: Extra inputs"),
        ({"data": {"block_size": 3}}, r"run\.yaml: data\.block_size: Extra inputs"),
        ({"data": {"block_size_px": 0}}, r"data\.block_size_px: .*greater than or equal to 1, got 0"),
        ({"data": {"edges": [0.5]}}, "expected one of edges, bins and high_share, got edges and bins"),
        ({"data": {"bins": None, "edges": [0.5, 0.2]}}, "edges must increase"),
        ({"data": {"source": "tiles"}}, "data: .*'tiles'"),
        ({"data": {"validation_fraction": 0.7}}, "leave nothing to train on: 0.4 and 0.7"),
        ({"data": {"patient": "("}}, "patient: no regular expression"),
        ({"methods": ["high_res"]}, r"'high_res' needs data\.stains"),
        ({"evaluation": {"split": "validation"}}, r"needs data\.validation_fraction above 0"),
        ({"loss": {"form": "exact"}}, "loss: .*form must be one of"),
        ({"loss": {"targets": "fractions", "std": 0.1, "count": 9}}, "either std or count, got both"),
        ({"loss": {"targets": "fractions", "std": 0.0}}, r"loss\.std.* greater than 0"),
        ({"loss": {"std": 0.1}}, "std is that of targets: fractions, got targets: labels"),
        ({"loss": {"form": "maximum"}}, r"loss\.form: 'maximum' is of single blocks, not for .* 'intra\+inter'"),
        (
            {"loss": {"form": "implicit_posterior", "targets": "fractions", "std": 0.1}},
            "form 'implicit_posterior' learns from labels",
        ),
        (
            {
                "data": {"bins": None, "edges": [0.5], "classifier": {}},
                "loss": {"targets": "fractions", "std": 0.1},
            },
            r"loss\.targets: 'fractions' are not known where data\.classifier labels",
        ),
        ({"methods": ["intra", "intra"]}, "each method may be named once"),
        ({"methods": ["semi"]}, r"methods\.0: .*got 'semi'"),
        ({"training": {"network": {"features": [9] * 6}}}, "multiple of norm_groups"),
    ],
)
def test_faults_are_reported_with_file_and_key(tmp_path, sections, message):
    with pytest.raises(ValueError, match=message):
        load_config(write_masks_run(tmp_path, **sections))


@pytest.mark.parametrize(
    "source",
    [
        {"source": "masks", "bins": 2},
        {"source": "dots", "bins": 2, "cell_area_px": 20},
        {"source": "labels", "labels": "labels.csv", "bins": 2},
    ],
)
@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["tumour", "other", "tumour"], r"classes: .*expected each class once, got 'tumour' 2 times"),
        (["tumour", ""], r"classes: .*expected a name for each class, got \['tumour', ''\]"),
        (["tumour"], "classes: .*at least 2 items"),
    ],
)
def test_classes_have_names_of_their_own(tmp_path, source, classes, message):
    content = {"output": "run", "data": source | {"block_size_px": 20, "classes": classes}, "methods": ["intra"]}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(ValueError, match=message):
        load_config(tmp_path / "run.yaml")
    content["data"]["classes"] = ["tumour", "other"]
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    assert load_config(tmp_path / "run.yaml").data.classes == ["tumour", "other"]


def test_supervision_needs_pixel_truth(tmp_path):
    with pytest.raises(ValueError, match="'supervised' needs pixel truth"):
        load_config(write_labels_run(tmp_path, methods=["supervised"]))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("methods: [limited]", "'limited' cannot be had from the source 'land_cover'"),
        ("methods: [intra+self]", "'intra\\+self' cannot be had from the source 'land_cover'"),
        ("data: {validation_fraction: 0.2}", "validation_fraction: the folders train and test are the split"),
    ],
)
def test_land_cover_has_labelled_pixels_and_a_split_of_its_own(tmp_path, more, message):
    base = {"output": "x", "data": {"source": "land_cover", "block_size_px": 64}}
    extra = yaml.safe_load(more)
    data = base["data"] | extra.pop("data", {})
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(base | extra | {"data": data}))
    with pytest.raises(ValueError, match=message):
        load_config(tmp_path / "run.yaml")


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        load_config(tmp_path / "none.yaml")
    for text, message in (
        ("a: [", "not readable YAML"),
        ("- 1", "expected a mapping"),
        ("!!python/none x", "YAML"),
    ):
        path = tmp_path / "bad.yaml"
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            load_config(path)


def test_overrides_replace_what_the_file_says(tmp_path):
    config = load_config(write_masks_run(tmp_path), {"seed": 7, "data.bins": 3, "output": "elsewhere"})
    assert (config.seed, config.data.bins, str(config.output)) == (7, 3, "elsewhere")


def test_preset_ihc_is_section_3_1_5(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("preset: ihc\noutput: x\ndata: {source: labels, labels: l.csv, distribution: d.json}\n")
    config = load_config(path)
    training = config.training
    assert config.data.block_size_px == 400
    assert (training.group_size, training.groups_per_batch, training.ungrouped_batch_size) == (10, 2, 10)
    assert (training.optimizer.name, training.optimizer.params["alpha"]) == ("RMSprop", 0.9)


def test_preset_brca_is_section_3_2_3(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("preset: brca\noutput: x\ndata: {source: labels, labels: l.csv}\n")
    config = load_config(path)
    training = config.training
    assert (config.data.block_size_px, config.data.distribution) == (240, "table1")
    assert (training.group_size, training.groups_per_batch, training.ungrouped_batch_size) == (15, 2, 30)
    assert config.evaluation.boundary_distance_px == 240


def test_the_file_goes_before_its_preset(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "preset: brca\noutput: x\ndata: {source: labels, labels: l.csv, block_size_px: 120}\n"
        "training: {optimizer: {name: SGD, params: {lr: 0.1}}}\n"
    )
    config = load_config(path)
    assert config.data.block_size_px == 120
    assert config.training.optimizer.params == {"lr": 0.1}
    assert config.training.group_size == 15


def test_an_old_key_works_with_a_warning(tmp_path):
    path = write_masks_run(tmp_path, data={"validation_fraction": 0.2}, evaluation={"part": "validation"})
    with pytest.warns(FutureWarning, match=r"evaluation\.part is now called evaluation\.split"):
        assert load_config(path).evaluation.split == "validation"
    with pytest.raises(ValueError, match=r"evaluation\.split and evaluation\.part, its old name, are both given"):
        load_config(path, {"evaluation.split": "test"})


def test_an_optimizer_by_name_alone_has_torchs_defaults(tmp_path):
    config = load_config(write_masks_run(tmp_path, training={"optimizer": {"name": "AdamW"}}))
    assert config.training.optimizer.params == {}


def test_home_folders_and_paths_that_are_null(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    labels = {"source": "labels", "labels": "labels.csv", "distribution": "table1"}

    def loaded(root, output):
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({"data": {**labels, "root": root}, "output": output, "methods": ["intra"]}))
        return load_config(path)

    config = loaded("~/cohort", "~/runs")
    assert (config.data.root, config.output) == (tmp_path / "home/cohort", tmp_path / "home/runs")
    assert loaded(None, "runs").data.root == tmp_path


@pytest.mark.parametrize(("given", "expected"), [("w.pt", "w.pt"), ("~/w.pt", "home/w.pt")])
def test_weights_are_beside_the_configuration_or_at_home(tmp_path, monkeypatch, given, expected):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = write_masks_run(tmp_path, training={"network": {"weights": {"file": given}}})
    assert load_config(path).training.network.weights.file == tmp_path / expected


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"preset": ["ihc"]}, r"preset: Input should be 'ihc' or 'brca', got \['ihc'\]"),
        ({"loss": {"class_weights": [0, 0]}}, r"loss.class_weights: .*expected a weight above 0"),
        (
            {"joint": {"pixel_class_weights": [-1, 0]}},
            r"joint.pixel_class_weights.0: .* greater than or equal to 0",
        ),
    ],
)
def test_values_that_mean_nothing_are_refused(tmp_path, section, message):
    path = tmp_path / "run.yaml"
    data = {"source": "labels", "labels": "labels.csv", "distribution": "table1"}
    path.write_text(yaml.safe_dump({"data": data, "output": "runs", "methods": ["intra"], **section}))
    with pytest.raises(ValueError, match=message):
        load_config(path)

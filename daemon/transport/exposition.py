"""Figures as Prometheus reads them (text format 0.0.4), beside those of the process itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from daemon.domain.figures import Figure, FigureKind, Labels

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_OWN = CollectorRegistry()
ProcessCollector(registry=_OWN)
GCCollector(registry=_OWN)


def exposition(figures: Sequence[Figure], *, process: str) -> bytes:
    """The whole page; each line says which process of the daemon it is of."""
    registry = CollectorRegistry()
    registry.register(_Given(figures, (("process", process),)))
    return generate_latest(registry)


class _Given(Collector):
    def __init__(self, figures: Sequence[Figure], common: Labels) -> None:
        self._figures = figures
        self._common = common

    def collect(self) -> Iterator[Metric]:
        for figure in self._figures:
            yield _family(figure, self._common)
        for metric in _OWN.collect():
            metric.samples = [
                sample._replace(labels=sample.labels | dict(self._common))
                for sample in metric.samples
            ]
            yield metric


def _family(figure: Figure, common: Labels) -> Metric:
    first = next((labels for labels, _ in (*figure.values, *figure.histograms)), ())
    names = [name for name, _ in (*common, *first)]
    if figure.kind is FigureKind.HISTOGRAM:
        spread = HistogramMetricFamily(figure.name, figure.help, labels=names)
        for labels, histogram in figure.histograms:
            spread.add_metric(_values(common, labels), histogram.cumulative(), histogram.sum)
        return spread
    make = CounterMetricFamily if figure.kind is FigureKind.COUNTER else GaugeMetricFamily
    family = make(figure.name, figure.help, labels=names)
    for labels, value in figure.values:
        family.add_metric(_values(common, labels), value)
    return family


def _values(common: Labels, labels: Labels) -> list[str]:
    return [value for _, value in (*common, *labels)]

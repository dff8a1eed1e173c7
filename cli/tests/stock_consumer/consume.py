"""Reads every event of a topic with Confluent's own client, and prints one JSON object per record.

Nothing here is Writ's: the deserializer finds the writer's schema by the framing, the registry gives it.
Usage: consume.py BROKERS REGISTRY_URL TOPIC
"""

import datetime
import decimal
import json
import sys
import uuid

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext


def plain(value):
    """The value as the HTTP interface would show it, where JSON has no type of its own."""
    if isinstance(value, datetime.datetime):
        utc = value.astimezone(datetime.timezone.utc)
        return utc.strftime("%Y-%m-%dT%H:%M:%S.") + f"{utc.microsecond // 1000:03}Z"
    if isinstance(value, (decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    raise TypeError(f"{value!r} of {type(value)}")


def main(brokers, registry, topic):
    deserialize = AvroDeserializer(SchemaRegistryClient({"url": registry}))
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "stock-consumer",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
    ended = 0
    while ended < len(partitions):
        message = consumer.poll(30)
        if message is None:
            sys.exit(f"{topic} can't be read to its end")
        if message.error():
            if message.error().code() != KafkaError._PARTITION_EOF:
                sys.exit(str(message.error()))
            ended += 1
            continue
        record = {
            "partition": message.partition(),
            "offset": message.offset(),
            "key": message.key().decode(),
            "headers": {name: value.decode() for name, value in message.headers() or []},
            "value": deserialize(message.value(), SerializationContext(topic, MessageField.VALUE)),
        }
        print(json.dumps(record, default=plain))
    consumer.close()


main(*sys.argv[1:])

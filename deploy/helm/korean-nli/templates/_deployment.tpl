{{- /* A Deployment of one track, stable or canary: `root`, `name`, `track`, `image`, `model`, and `replicas` (null: scaled). */ -}}
{{- define "nli.deployment" -}}
{{- $values := .root.Values -}}
{{- $store := ternary "/srv/nli/model_store" "/models" (eq .model.source "image") -}}
{{- $image := printf "%s:%s" .image.repository (.image.tag | default .root.Chart.AppVersion) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  labels:
    {{- include "nli.labels" .root | nindent 4 }}
    track: {{ .track }}
spec:
  {{- if .replicas }}
  replicas: {{ .replicas }}
  {{- end }}
  revisionHistoryLimit: 5
  minReadySeconds: 5
  progressDeadlineSeconds: 900
  strategy:
    type: RollingUpdate
    rollingUpdate: { maxUnavailable: 0, maxSurge: 1 }
  selector:
    matchLabels:
      {{- include "nli.selector" .root | nindent 6 }}
      track: {{ .track }}
  template:
    metadata:
      labels:
        {{- include "nli.selector" .root | nindent 8 }}
        track: {{ .track }}
        {{- with $values.podLabels }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- with $values.podAnnotations }}
      annotations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      # drainSeconds, then the longest stop of gateway and service (STOP_SECONDS in scripts/torchserve/service.py).
      terminationGracePeriodSeconds: {{ add $values.drainSeconds 240 }}
      {{- with $values.imagePullSecrets }}
      imagePullSecrets:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 10001
        runAsGroup: 10001
        fsGroup: 10001
        fsGroupChangePolicy: OnRootMismatch
        seccompProfile: { type: RuntimeDefault }
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels:
              {{- include "nli.selector" .root | nindent 14 }}
              track: {{ .track }}
          matchLabelKeys: [pod-template-hash]
      initContainers:
        {{- if eq .model.source "download" }}
        - name: download
          image: {{ $image | quote }}
          imagePullPolicy: {{ .image.pullPolicy }}
          command:
            - python
            - -c
            - |
              {{- .root.Files.Get "files/download.py" | nindent 14 }}
          env:
            - { name: URL, value: {{ .model.download.url | quote }} }
            - { name: SHA256, value: {{ .model.download.sha256 | quote }} }
            - { name: ARCHIVE, value: {{ printf "%s/%s" $store .model.archive | quote }} }
          resources:
            requests: { cpu: 100m, memory: 128Mi }
            limits: { memory: 256Mi }
          securityContext:
            {{- include "nli.confined" . | nindent 12 }}
          volumeMounts:
            - { name: models, mountPath: /models }
        {{- end }}
        # A sidecar: ready before the gateway starts, and stopped after it has ended.
        - name: service
          image: {{ $image | quote }}
          imagePullPolicy: {{ .image.pullPolicy }}
          restartPolicy: Always
          command: [python, scripts/serve.py]
          args:
            - --archive={{ $store }}/{{ .model.archive }}
            - --config=config/production.properties
            - --folder=/srv/nli/.run
            - --fresh
            - --readiness-address=0.0.0.0:8085
            - --metrics-address=0.0.0.0:8082
            {{- with $values.service.workers }}
            - --workers={{ . }}
            {{- end }}
          ports:
            - { name: readiness, containerPort: 8085 }
            - { name: metrics, containerPort: 8082 }
          # As long as scripts/serve.py itself waits for the model.
          startupProbe:
            httpGet: { path: /ready, port: readiness }
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 66
          readinessProbe:
            httpGet: { path: /ready, port: readiness }
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 2
          # TorchServe starts dead workers again; a service that has had none for ten minutes starts anew.
          livenessProbe:
            httpGet: { path: /ready, port: readiness }
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 60
          resources:
            {{- toYaml $values.service.resources | nindent 12 }}
          securityContext:
            {{- include "nli.confined" . | nindent 12 }}
          volumeMounts:
            - { name: run, mountPath: /srv/nli/.run }
            - { name: service-tmp, mountPath: /tmp }
            {{- if ne .model.source "image" }}
            - { name: models, mountPath: /models, readOnly: true }
            {{- end }}
      containers:
        - name: gateway
          image: {{ $image | quote }}
          imagePullPolicy: {{ .image.pullPolicy }}
          command: [python, scripts/gateway.py]
          args:
            - --service=127.0.0.1:8080
            - --readiness=127.0.0.1:8085
            - --listen=0.0.0.0:8000
            - --model-name={{ .model.name }}
            - --rate={{ $values.gateway.rate }}
            - --large-rate={{ $values.gateway.largeRate }}
            {{- range $values.gateway.trustedProxies | default (list "none") }}
            - --trusted-proxy={{ . }}
            {{- end }}
            {{- if $values.gateway.keysSecret }}
            - --keys=/keys/keys
            {{- end }}
            - --log=-
          ports:
            - { name: http, containerPort: 8000 }
          lifecycle:
            preStop:
              sleep: { seconds: {{ $values.drainSeconds }} }
          readinessProbe:
            httpGet: { path: /ready, port: http }
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 2
          # A connection, since the limits of clients don't count those.
          livenessProbe:
            tcpSocket: { port: http }
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          resources:
            {{- toYaml $values.gateway.resources | nindent 12 }}
          securityContext:
            {{- include "nli.confined" . | nindent 12 }}
          volumeMounts:
            - { name: gateway-tmp, mountPath: /tmp }
            {{- if $values.gateway.keysSecret }}
            - { name: keys, mountPath: /keys, readOnly: true }
            {{- end }}
      volumes:
        - name: run
          emptyDir: { sizeLimit: 8Gi }
        - name: service-tmp
          emptyDir: { sizeLimit: 1Gi }
        - name: gateway-tmp
          emptyDir: { sizeLimit: 1Gi }
        {{- if eq .model.source "volume" }}
        - name: models
          {{- toYaml .model.volume | nindent 10 }}
        {{- else if eq .model.source "download" }}
        - name: models
          emptyDir: { sizeLimit: 8Gi }
        {{- end }}
        {{- if $values.gateway.keysSecret }}
        - name: keys
          secret:
            secretName: {{ $values.gateway.keysSecret }}
            defaultMode: 0440
        {{- end }}
      {{- with $values.nodeSelector }}
      nodeSelector:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.tolerations }}
      tolerations:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.affinity }}
      affinity:
        {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}

{{- define "nli.confined" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: { drop: [ALL] }
{{- end }}
